"""The page in a real browser: clips play, are filtered, plotted, compared and copied, and nothing in them can run."""

import json
import shlex
import shutil
import time
from itertools import product
from pathlib import Path

import pytest

from animdiff_cli.jobs.gallery import make_gallery, plan_gallery
from animdiff_cli.outputs import write_clip
from tests.gallery.conftest import config, grey_clip, level

CHROMIUM = Path("/usr/bin/chromium")
#: grey level of the middle of a canvas
LEVEL = "canvas => canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0]"
HOSTILE = [
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "\"'><svg onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "\u2028document.title='owned'\u2029",
    "{{7*7}}${document.title='owned'}`",
    "<!--<script>",
]


@pytest.fixture(scope="module")
def chromium():
    """A browser for the tests of this file: while it runs, its event loop is that of this thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def errors():
    """The errors of the opened pages; a test removes those that it expects."""
    found = []
    yield found
    assert found == []


@pytest.fixture
def opened(chromium, errors):
    """Open a file without a network."""
    contexts = []

    def open_page(path, width=1200, height=800, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.goto(path.absolute().as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """A gallery of two prompts, two seeds and two scales, with names `PROMPT_SEED_SCALE`."""
    folder = tmp_path_factory.mktemp("matrix")
    for prompt, seed, scale in product(("a fox", "a hen"), (1, 2), (0.5, 1.0)):
        path = folder / "clips" / f"{prompt[2:]}_{seed}_{scale}.webp"
        write_clip(grey_clip(), 8, path, "webp", config(prompt=prompt, seed=seed, motion_scale=scale))
    return make_gallery(plan_gallery([folder / "clips"], folder / "page.html")).page


def until(page, expression, seconds=10):
    """Wait until an expression is true. The page's policy forbids what Playwright has for this."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def names(page, within="#clips-view"):
    """Return the names of the clips that are shown, in order."""
    return page.eval_on_selector_all(f"{within} .card", "cards => cards.map(card => clips[card.dataset.clip].name)")


def shown_frames(page, selector="canvas.ready"):
    """Return the frame that each canvas shows."""
    levels = page.eval_on_selector_all(selector, f"all => all.map({LEVEL})")
    return [round((grey - level(0)) / (level(1) - level(0))) for grey in levels]


def test_a_clip_is_a_still_until_the_pointer_or_the_keyboard_is_on_it(matrix, opened):
    page = opened(matrix)
    assert page.locator("canvas").count() == 0
    page.locator(".card").nth(2).hover()
    until(page, f"document.querySelector('canvas.ready') && ({LEVEL})(document.querySelector('canvas')) > 60")
    assert page.locator(".card").nth(2).locator("canvas").count() == 1
    page.mouse.move(5, 5)
    until(page, "!document.querySelector('canvas')")
    page.locator(".picture[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".card").nth(1).locator("canvas.ready").wait_for()
    assert page.locator("canvas").count() == 1
    assert page.evaluate("spareCanvases.length + playing.size") <= 2, "canvases are used again"


def test_arrow_keys_move_between_the_clips(matrix, opened):
    page = opened(matrix, width=800)
    columns = page.evaluate("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length")
    assert 1 < columns < 8
    focused = "() => Number(document.activeElement.closest('.card').dataset.clip)"
    page.locator(".picture[tabindex='0']").focus()
    for key, expected in (("ArrowDown", columns), ("ArrowRight", columns + 1), ("ArrowUp", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert page.evaluate(focused) == expected
    assert page.locator(".picture[tabindex='0']").count() == 1


def test_filters_search_sort_and_groups(matrix, opened):
    page = opened(matrix)
    assert page.locator("#count").inner_text() == "8 clips"
    page.locator(".filter[data-key=seed] label", has_text="2").click()
    assert page.locator("#count").inner_text() == "4 of 8 clips"
    assert page.locator(".filter[data-key=prompt] label small").all_inner_texts() == ["2", "2"]
    assert page.locator(".filter[data-key=seed] label small").all_inner_texts() == ["4", "4"]
    page.locator(".filter[data-key=motion_scale] label", has_text="0.5").click()
    assert names(page) == ["fox_2_0.5.webp", "hen_2_0.5.webp"]
    page.fill("#query", "HEN a")
    assert names(page) == ["hen_2_0.5.webp"]
    page.fill("#query", "wolf")
    assert page.locator("#clips-view").inner_text() == "No clip matches."
    page.fill("#query", "")
    page.get_by_text("Clear all").click()
    page.select_option("#sort", "motion_scale")
    assert names(page)[0] == "fox_1_0.5.webp" and names(page)[-1] == "hen_2_1.0.webp"
    page.click("#descending")
    assert names(page)[0] == "hen_2_1.0.webp"
    page.select_option("#group", "prompt")
    assert page.locator("h2.group").all_inner_texts() == ["prompt a fox 4", "prompt a hen 4"]


def test_the_plot_puts_every_clip_into_its_cell(matrix, opened):
    page = opened(matrix)
    page.keyboard.press("y")
    page.select_option("#x", "seed")
    page.select_option("#y", "motion_scale")
    assert page.locator(".plot thead th").all_inner_texts()[1:] == ["1", "2"]
    assert page.locator(".plot tbody th").all_inner_texts() == ["0.5", "1"]
    for row, scale in enumerate(("0.5", "1.0"), start=1):
        for column, seed in enumerate((1, 2), start=1):
            cell = f".plot tbody tr:nth-child({row}) td:nth-of-type({column})"
            assert names(page, cell) == [f"fox_{seed}_{scale}.webp", f"hen_{seed}_{scale}.webp"]
    page.select_option("#y", "seed")
    assert "two different settings" in page.locator("#clips-view").inner_text()


def test_all_visible_clips_play_in_step(matrix, opened):
    page = opened(matrix)
    page.keyboard.press("p")
    until(page, "document.querySelectorAll('canvas.ready').length === 8")
    for _ in range(3):
        page.wait_for_timeout(60)
        assert len(set(shown_frames(page))) == 1
    page.keyboard.press("p")
    assert page.locator("canvas").count() == 0


def test_compared_clips_show_the_same_frame(clip, gallery, opened):
    clip("a.gif", seed=1)
    clip("b.mp4", grey_clip(6, width=48), seed=2)
    clip("c.webp", grey_clip(4), seed=3)
    clip("d.gif", grey_clip(1), seed=4)
    page = opened(gallery()[0].page)
    page.keyboard.press("v")
    assert not page.locator("#viewer").is_visible(), "nothing is selected"
    page.locator(".picture[tabindex='0']").focus()
    for _ in range(3):
        page.keyboard.press("x")
        page.keyboard.press("ArrowRight")
    assert page.locator("#tray-count").inner_text() == "3 clips selected"
    page.keyboard.press("v")
    until(page, "document.querySelectorAll('#viewer canvas.ready').length === 3")
    page.keyboard.press("Home")
    assert shown_frames(page) == [0, 0, 0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert shown_frames(page) == [2, 2, 2]
    page.keyboard.press("End")
    assert shown_frames(page) == [5, 5, 3], "the last frame of a shorter clip stays"
    assert page.locator(".ended").all_inner_texts() == ["", "", " · ended"]
    page.locator(".scrub").fill("1")
    assert shown_frames(page) == [1, 1, 1]
    assert page.locator(".frame-number").inner_text() == "2 / 6"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert shown_frames(page)[0] == 5
    page.locator(".toggle").click()
    until(page, "document.querySelector('.frame-number').textContent === '3 / 6'")
    page.locator(".toggle").click()
    frame = int(page.locator(".frame-number").inner_text().split()[0]) - 1
    assert shown_frames(page) == [frame, frame, min(frame, 3)]
    assert page.locator(".settings tr:visible th[scope=row]").all_inner_texts() == ["seed", "format"]
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()


def test_the_command_and_the_recipe_are_copied(clip, gallery, opened):
    path = clip('it\'s "a" $(fox).gif', seed=9)
    clip("z.gif")
    page = opened(gallery()[0].page, permissions=["clipboard-read", "clipboard-write"])
    page.locator(".picture").first.click()
    page.get_by_text("Copy command").click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert shlex.split(copied) == ["animdiff", "generate", "--from", str(path)]
    page.get_by_text("Copy recipe").click()
    until(page, "navigator.clipboard.readText().then((text) => text.startsWith('{'))")
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["config"]["seed"] == 9
    page.keyboard.press("]")
    assert page.locator("#viewer h2").inner_text() == "z.gif"
    page.keyboard.press("c")
    until(page, "navigator.clipboard.readText().then((text) => text.endsWith('z.gif'))")


def test_nothing_in_a_recipe_or_a_name_runs(clip, gallery, opened):
    for number, text in enumerate(HOSTILE):
        settings = {text: text, "__proto__": text, "constructor": text, "loras": [text], "prompt": {text: text}}
        recipe = config(**({"prompt": text, "negative_prompt": text, "model": text} | (settings if number % 2 else {})))
        clip(f"{number}{text.replace('/', '∕')}.gif", recipe=recipe | {"weights": {text: {text: text}}})
    page = opened(gallery()[0].page)
    title = page.title()
    page.keyboard.press("y")
    page.keyboard.press("p")
    page.keyboard.press("g")
    page.select_option("#group", "prompt")
    for number in (0, 1, 2):
        page.locator(".card .pick").nth(number).click()
    page.keyboard.press("v")
    page.locator("#viewer canvas.ready").first.wait_for()
    page.keyboard.press("Escape")
    page.locator(".card .picture").nth(1).click()
    page.locator("#viewer summary").click()
    page.wait_for_timeout(50)
    assert page.title() == title != "owned"
    assert page.locator("svg, iframe, object, embed, a, img:not([src^='data:'])").count() == 0
    assert page.evaluate("[...document.scripts].filter((script) => !script.type).length") == 1
    assert page.evaluate("clips.filter((clip) => valueText(clip.settings['constructor']) === '–').length") == 4


def test_an_injected_element_could_not_run(matrix, opened, errors):
    page = opened(matrix)
    page.evaluate("""() => {
        window.blocked = 0;
        document.addEventListener('securitypolicyviolation', () => { window.blocked += 1; });
        const image = document.createElement('template');
        image['inner' + 'HTML'] = '<img src="x:" onerror="document.title = 1"><script>document.title = 2</' + 'script>';
        document.body.append(image.content.cloneNode(true));
    }""")
    until(page, "window.blocked >= 2")
    assert page.title() not in ("1", "2")
    assert errors and all("Content Security Policy" in error for error in errors)
    errors.clear()


def test_linked_sheets_play_from_a_file(clip, gallery, opened, errors, tmp_path):
    clip("javascript:alert(1)#%.gif")
    page = opened(gallery(link=True, output="my page #1.html")[0].page)
    page.locator(".picture").first.click()
    page.locator("#viewer canvas.ready").wait_for()
    address = page.locator("#viewer a").evaluate("link => link.href")
    shutil.rmtree(tmp_path / "my page #1_files")
    errors.clear()
    page.reload()
    page.locator(".picture").first.click()
    page.locator("#viewer .picture.missing").wait_for()
    assert all("ERR_FILE_NOT_FOUND" in error for error in errors)
    errors.clear()
    assert address.startswith("file:///") and address.endswith("/clips/javascript%3Aalert%281%29%23%25.gif")


def test_reduced_motion_opens_a_clip_paused(matrix, opened):
    page = opened(matrix, reduced_motion="reduce")
    page.locator(".picture").first.click()
    page.locator("#viewer canvas.ready").wait_for()
    page.wait_for_timeout(200)
    assert page.locator(".frame-number").inner_text() == "1 / 6"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_switched(matrix, opened, scheme):
    page = opened(matrix, color_scheme=scheme)
    brightness = "parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    before = page.evaluate(brightness)
    assert (before > 200) == (scheme == "light")
    page.click("#theme")
    assert (page.evaluate(brightness) > 200) == (scheme == "dark")
    page.reload()
    assert (page.evaluate(brightness) > 200) == (scheme == "dark"), "the choice is remembered"


def test_nothing_is_wider_than_a_phone(clip, gallery, opened):
    for seed in range(6):
        clip(f"{'a_long_name' * 8}_{seed}.gif", seed=seed, prompt="word" * 60 + f" {seed % 2}", loras=["x" * 90])
    page = opened(gallery()[0].page, width=390, height=844, has_touch=True, is_mobile=True)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 390
    page.locator("#filters summary").first.tap()
    assert page.evaluate(width) == 390
    for number in range(3):
        page.locator(".pick").nth(number).tap()
    page.locator("#compare").tap()
    viewer = page.locator("#viewer")
    assert viewer.evaluate("element => element.scrollWidth <= element.clientWidth")
    viewer.get_by_label("Close").tap()
    page.locator("#view-plot").tap()
    assert page.locator(".plot .card").count() == 6
    assert page.evaluate(width) == 390
    page.locator(".plot .picture").first.tap()
    assert viewer.evaluate("element => element.scrollWidth <= element.clientWidth")


def test_the_report_of_an_evaluation_is_shown_under_its_policy(clip, opened, tmp_path):
    from animdiff_cli.jobs.evaluate import evaluate
    from animdiff_cli.metrics.report import write_report

    found = evaluate([clip("a.gif"), clip("b.mp4")])
    page = opened(write_report(found.clips, found.notes, tmp_path / "report.html"), color_scheme="dark")
    until(page, "document.querySelector('img').naturalWidth === 32")
    until(page, "document.querySelector('video').readyState > 1")
    assert page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])") < 60
