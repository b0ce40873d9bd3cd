import hashlib
import json

import pytest
from pydantic import TypeAdapter

from animdiff_cli import generate
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.settings import settings_of
from animdiff_cli.core.event_records import EventRecord
from animdiff_cli.outputs import read_recipe
from animdiff_cli.paths import pocket_dir
from tests.jobs.serve.conftest import CLIP, ENDLESS, SMALL


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The clip of `SMALL` as `generate` renders it."""
    return generate(**CLIP, device="cpu").save(tmp_path_factory.mktemp("local") / "clip.png").read_bytes()


def kinds(records):
    return [record["event"] for record in records]


def test_a_clip_is_that_of_generate_and_its_events_are_those_of_json(server, local):
    job, records = server.render(output="night/{slug}_{seed}")
    assert (server.output / "night/a-red-ball_1.png").read_bytes() == local
    (file,) = job["files"]
    assert server.get(f"/jobs/{job['job']}/files/{file['path']}").content == local
    assert file == {
        "format": "apng",
        "path": "night/a-red-ball_1.png",
        "bytes": len(local),
        "sha256": hashlib.sha256(local).hexdigest(),
    }
    assert kinds(records)[:2] == ["queued", "started"] and kinds(records)[-2:] == ["written", "done"]
    assert {"step", "decoding"} <= set(kinds(records))
    for record in records:
        TypeAdapter(EventRecord).validate_python(record)
    assert records[-1]["config"] == read_recipe(server.output / file["path"])["config"]
    assert job["state"] == "done" and job["config"]["num_frames"] == 2


def test_weights_stay_loaded_until_two_other_sets_were_used(server):
    def loads(**settings):
        return "loading" in kinds(server.render(**settings)[1])

    server.render()
    assert not loads(prompt="a blue fish", seed=2, steps=2, num_frames=3, width=72, motion_scale=0.5)
    assert loads(loras=["pocket-crayon"])
    assert not loads() and not loads(loras=["pocket-crayon"])
    assert loads(motion_module=None)
    assert not loads(loras=["pocket-crayon"]) and loads()  # used longest ago


def test_every_format_is_listed_and_can_be_read(server):
    job, records = server.render(formats=["webp", "frames"], output="both")
    assert records[-1]["outputs"] == {"webp": "both.webp", "frames": "both"}
    names = ["both.webp", "both/00000.png", "both/00001.png", "both/recipe.json"]
    assert [file["path"] for file in job["files"]] == names
    for file in job["files"]:
        content = server.get(f"/jobs/{job['job']}/files/{file['path']}").content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    again, _ = server.render(formats=["webp", "frames"], output="both")
    assert again["files"][0]["path"] == "both-2.webp"  # never replaced


def test_a_drawn_seed_is_reported(server):
    request = {key: value for key, value in SMALL.items() if key != "seed"}
    job = server.queue(request)
    records = server.events(job)
    seed = server.job(job)["config"]["seed"]
    assert records[-1]["notes"] == [f"seed {seed}, drawn at random"]


def test_a_full_queue_refuses_and_jobs_can_be_cancelled(server, local):
    running = server.queue(ENDLESS)
    server.wait_until_started(running)
    waiting = server.queue(SMALL)
    refused = server.post(SMALL)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    assert "wait already" in refused.json()["error"]
    assert server.job(waiting)["position"] == 0 and server.job(running)["state"] == "started"
    assert server.get("/health").json() | {"models": 0} == {
        "status": "ok",
        "version": server.get("/health").json()["version"],
        "queued": 1,
        "running": 1,
        "models": 0,
    }
    assert server.delete(waiting).json()["state"] == "interrupted"
    assert kinds(server.events(waiting)) == ["queued", "interrupted"]
    server.delete(running)
    assert kinds(server.events(running))[-1] == "interrupted"
    job, _ = server.render(output="after")
    assert (server.output / job["files"][0]["path"]).read_bytes() == local  # the weights are as before


def test_a_stream_can_be_taken_up_and_a_finished_job_forgotten(server):
    job, records = server.render()
    assert [record for record in records if record["event"] in ("queued", "written", "done")] == [
        record for record in server.events(job["job"]) if record["event"] not in ("started", "note")
    ]
    last = server.events(job["job"], **{"Last-Event-ID": str(len(records) - 1)})
    assert kinds(last) == ["done"]
    assert job["job"] in [listed["job"] for listed in server.get("/jobs").json()]
    server.delete(job["job"])
    assert server.get(f"/jobs/{job['job']}").status_code == 404
    assert (server.output / job["files"][0]["path"]).exists()


def test_files_that_are_not_kept_are_removed_with_the_job(server, local):
    before = sorted(server.output.rglob("*"))
    job, _ = server.render(keep=False, output="gone")
    path = f"/jobs/{job['job']}/files/gone.png"
    assert server.get(path).content == local
    server.delete(job["job"])
    assert server.get(path).status_code == 404
    assert sorted(server.output.rglob("*")) == before


def test_a_changed_file_is_loaded_again_and_a_missing_one_fails_one_job(start_server, tmp_path):
    module = tmp_path / "module.safetensors"
    module.write_bytes((pocket_dir() / "motion_module.safetensors").read_bytes())
    server = start_server(limits={"allowed": (tmp_path,)}, keep=1)
    own = {"motion_module": str(module)}
    assert "loading" in kinds(server.render(**own)[1])
    assert "loading" not in kinds(server.render(**own)[1])
    module.touch()
    assert "loading" in kinds(server.render(**own)[1])
    first = server.queue(ENDLESS | own)
    failing, following = server.queue(SMALL | own), server.queue(SMALL)
    server.wait_until_started(first)
    module.unlink()
    server.delete(first)
    last = server.events(failing)[-1]
    assert (last["event"], last["code"]) == ("failed", 3) and "module.safetensors" in last["error"]
    assert server.job(failing)["error"]["code"] == 3
    assert kinds(server.events(following))[-1] == "done"


def test_openapi_describes_every_setting_and_every_answer(server):
    page = server.get("/openapi.json").json()
    schema = page["paths"]["/render"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    own = {"preset", "formats", "output", "keep", "origins"}
    assert set(schema["properties"]) == set(settings_of(GenerateConfig)) | own
    assert schema["properties"]["steps"]["maximum"] == 999
    assert schema["properties"]["guidance_scale"]["anyOf"][0]["type"] == "number"
    assert (
        server.post(SMALL | schema["example"] | {"formats": ["apng"]} | {"steps": 1, "num_frames": 2}).status_code
        == 202
    )
    assert {"/health", "/jobs", "/jobs/{job_id}", "/jobs/{job_id}/events"} <= set(page["paths"])
    assert "text/event-stream" in json.dumps(page["paths"]["/jobs/{job_id}/events"])


def test_a_stopping_server_finishes_the_running_clip_and_waits_until_it_is_collected(start_server, local):
    server = start_server()
    running = server.queue(SMALL | {"keep": False, "steps": 8})
    waiting = server.queue(SMALL)
    server.wait_until_started(running)
    server.stop()
    while server.get("/health").json()["status"] != "stopping":
        pass
    refused = server.post(SMALL)
    assert refused.status_code == 503 and "stopping" in refused.json()["error"]
    assert server.job(waiting)["state"] == "interrupted"
    assert kinds(server.events(running))[-1] == "done"
    (file,) = server.job(running)["files"]
    assert server.get(f"/jobs/{running}/files/{file['path']}").content[:4] == b"\x89PNG"
    server.delete(running)
    server.thread.join(10)
    assert not server.thread.is_alive()


def test_a_second_signal_stops_at_the_next_step(start_server):
    server = start_server()
    running = server.queue(ENDLESS)
    server.wait_until_started(running)
    server.stop()
    server.stop()
    server.thread.join(10)
    assert not server.thread.is_alive()
