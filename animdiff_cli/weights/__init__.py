"""Weight files: open them safely, identify them, convert them between key layouts."""
