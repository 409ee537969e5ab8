"""The page of a report as a reader sees it: in Chromium, on a desk and on a phone, without a network."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from embodied.report.command import main
from tests.made_runs import write_run, write_video

SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
EVIL = "<script>document.title = 'taken'</script>"
TASKS = (
    "push the cube",
    f"pick {EVIL} & place",
    "open_the_top_drawer_of_the_cabinet_without_touching_the_handle_twice",
)


def missing() -> str:
    """What this machine lacks to open a page; empty where it has all."""
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "selenium is not installed: pip install -c constraints.txt -e '.[dev]'"
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"there is no {' and no '.join(lacking)} here: `make setup` brings them where it may" if lacking else ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Everything at once: two groups of settings, one of a table, films, and runs that are not as they should be."""
    folder = tmp_path_factory.mktemp("report")
    runs = folder / "runs"
    for seed in range(4):
        for name, rate, learning_rate in (("a", 0.9, 1e-3), ("b", 0.5, 1e-4)):
            write_run(runs / f"{name}{seed}", seed=seed, rate=rate, learning_rate=learning_rate, tasks=TASKS)
    for name in ("success", "failure"):
        write_video(runs / "a0" / "evaluation" / "final" / f"{name}.mp4")
    write_video(runs / "b0" / "video.mp4")
    (runs / "b1" / "video.mp4").write_bytes(b"no video")
    write_run(runs / "damaged", seed=8)
    (runs / "damaged" / "config.yaml").write_text("a: [1")
    write_run(runs / "tuned", seed=1_000_000, purpose="tuning", tasks=TASKS)
    facts = json.loads((runs / "a0" / "facts.json").read_text())
    (runs / "a0" / "facts.json").write_text(json.dumps(facts | {"command": f"embodied train x={EVIL} {'y' * 300}"}))
    rows = [f"{'a' * 60},{seed},{task},0.7" for seed in range(3) for task in (TASKS[0], TASKS[2])]
    (folder / "theirs.csv").write_text("group,seed,task,score\n" + "\n".join(rows))
    running = write_run(
        runs / "running", seed=9, learning_rate=1e-4, points=8, planned=20, how="killed", evaluated=False
    )
    with (running / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main([str(runs), str(folder / "theirs.csv"), f"out={folder / 'report.html'}"]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module", params=SCREENS)
def screen(request):
    return SCREENS[request.param]


@pytest.fixture(scope="module")
def browser(screen, page):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    width, height = screen
    options = webdriver.ChromeOptions()
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{word}")
    if screen == SCREENS["phone"]:
        metrics = {"width": width, "height": height, "pixelRatio": 2.0}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = str(shutil.which("chromium"))
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_window_size(width, height)
        driver.set_network_conditions(offline=True, latency=0, throughput=0)
        driver.set_script_timeout(20)
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


def told(browser, script):
    return browser.execute_script(f"return {script}")


def test_every_picture_is_there_and_says_what_it_shows(browser):
    pictures = told(
        browser,
        """[...document.images].map(x => ({complete: x.complete, width: x.naturalWidth, alt: x.alt,
            caption: x.closest('figure').querySelector('figcaption').innerText}))""",
    )
    assert len(pictures) == 7
    assert all(x["complete"] and x["width"] > 300 for x in pictures)
    assert all(len(x["alt"]) > 20 and "n\N{NO-BREAK SPACE}=" in x["caption"] for x in pictures)


def test_every_link_leads_somewhere_on_the_page(browser):
    links = told(browser, "[...document.querySelectorAll('a')].map(x => x.getAttribute('href'))")
    assert len(links) >= 8
    assert all(link.startswith("#") for link in links)
    assert all(told(browser, f"document.getElementById({link[1:]!r}) !== null") for link in links)
    ids = told(browser, "[...document.querySelectorAll('[id]')].map(x => x.id)")
    assert len(ids) == len(set(ids))


def test_every_link_of_the_contents_is_followed(browser):
    for link in browser.find_elements("css selector", "nav a"):
        link.click()
        target = link.get_attribute("hash")
        top = told(browser, f"document.querySelector({target!r}).getBoundingClientRect().top")
        at_end = told(browser, "innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert abs(top) < 40 or at_end
        assert told(browser, "location.hash") == target


def test_nothing_is_fetched_from_anywhere(browser):
    addresses = told(
        browser,
        """[...document.querySelectorAll('[src], [href], [poster]')].flatMap(
            x => ['src', 'href', 'poster'].map(key => x.getAttribute(key)).filter(Boolean)).map(x => x.slice(0, 5))""",
    )
    assert {address[:1] if address.startswith("#") else address for address in addresses} == {"#", "data:"}
    assert told(browser, "performance.getEntriesByType('resource').every(x => x.name.startsWith('data:'))")
    assert told(browser, "document.scripts.length") == 0


def test_nothing_is_wider_than_the_screen(browser, screen):
    assert told(browser, "innerWidth") == screen[0]  # a phone would zoom out instead
    assert told(browser, "document.documentElement.scrollWidth") <= screen[0]
    outside = told(
        browser,
        """[...document.body.querySelectorAll('*')].filter(x => !x.closest('.scroll table') && !x.closest('svg')
            && x.getBoundingClientRect().right > innerWidth + 1).map(x => x.tagName + ' ' + x.innerText)""",
    )
    assert outside == []


def test_wide_tables_scroll_in_a_box_of_their_own(browser, screen):
    wide = told(
        browser, "[...document.querySelectorAll('.scroll')].filter(x => x.scrollWidth > x.clientWidth + 1).length"
    )
    assert wide > 0 or screen == SCREENS["desk"]


def test_text_and_pictures_can_be_read_without_zooming(browser):
    sizes = told(
        browser,
        """[...document.querySelectorAll('p, td, th, figcaption, li, pre, summary')].map(
            x => parseFloat(getComputedStyle(x).fontSize))""",
    )
    assert min(sizes) >= 13
    scale = told(browser, "[...document.images].map(x => x.clientWidth / parseInt(x.getAttribute('width')))")
    assert min(scale) > 0.7


def test_videos_can_be_played(browser):
    found = browser.execute_async_script(
        """const done = arguments[0], videos = [...document.querySelectorAll('video')];
        Promise.all(videos.map(x => new Promise(resolve => {
            const tell = () => resolve([x.error === null, x.videoWidth, x.poster.length > 100]);
            x.readyState > 0 || x.error ? tell() : (x.onloadedmetadata = x.onerror = tell); x.load();
        }))).then(done)"""
    )
    assert found == [[True, 64, True]] * 3


def test_what_strangers_wrote_is_text(browser):
    assert told(browser, "document.title") != "taken"
    assert EVIL in told(browser, "document.body.innerText")


def test_the_browser_has_nothing_to_complain_of(browser):
    assert browser.get_log("browser") == []


def test_the_page_says_what_it_left_out(browser):
    text = told(browser, "document.getElementById('left-out').innerText")
    for name in (
        "runs/damaged was left out",
        "runs/tuned (seed 1000000)",
        "runs/running (running at 40 %) has a curve",
    ):
        assert name in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "tuning run" in told(browser, "document.getElementById('verdict').innerText")


def test_a_picture_of_each_figure_lies_beside_the_page(page, browser):
    files = {path.stem for path in Path(page.parent / "report-pictures").glob("*.png")}
    shown = told(browser, "[...document.querySelectorAll('[id^=figure-]')].map(x => x.id)")
    assert files == {name.removeprefix("figure-") for name in shown}


def test_it_prints_without_the_contents(browser):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert told(browser, "getComputedStyle(document.querySelector('nav')).display") == "none"
        assert told(browser, "document.images[0].clientWidth") > 200
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
