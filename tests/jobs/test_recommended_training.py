"""What the catalog says of training on a model applies below everything that is typed."""

from animdiff_cli.config.layers import Layer
from animdiff_cli.jobs.train_plan import plan_training


def test_the_miniature_brings_settings_of_its_own_and_flags_go_before_them(tmp_path):
    typed = Layer("command line", {"model": "pocket", "data.videos": str(tmp_path), "out": str(tmp_path / "run")})
    plan = plan_training("motion-lora", [typed], device="cpu")
    assert (plan.config.snr_gamma, plan.config.spatial_rank, plan.config.data.size) == (0.003, 0, 128)
    assert plan.resolved.origins["snr_gamma"] == "recommended for `pocket`"
    over = Layer("command line", {**typed.values, "snr_gamma": 5.0})
    assert plan_training("motion-lora", [over], device="cpu").config.snr_gamma == 5.0
    assert plan_training("domain-adapter", [typed], device="cpu").config.snr_gamma is None
