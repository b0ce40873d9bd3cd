from animdiff_cli.jobs.train import run_training


def test_a_run_trains(make_plan, clips):
    result = run_training(make_plan(), clips, print)
    print(result.report)
    assert result.path.is_file()
