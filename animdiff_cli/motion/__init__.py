"""The paper: motion modules, and the plug that attaches them to a stock UNet."""
