#!/usr/bin/python3
"""The pages that the program writes, in a real browser: a mouse that hovers, another column, search, the
row navigator, texts that are hostile or of other scripts, light and dark, 10,000 tokens; and no request
to a network. ALD_PICTURES names a folder for pictures to look at."""
import atexit
import os
import re
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
import browser  # noqa: E402
import harness  # noqa: E402
import training  # noqa: E402

MODELS = ("policy", "dpo", "contrast", "reference")
EVIL = '</script><img src=x onerror="document.title=\'owned\'"><!-- & \\u003c \x1b[31m\u202eback\u2028end'
ROWS = [
    {"prompt": "Order: two teas & <b>cake</b>, please.", "chosen": "Of course!\n\n\tTwo teas  (hot), née café 😀👍",
     "rejected": EVIL},
    {"prompt": "שלום, מה שלומך?", "chosen": "שלום! אני בסדר, תודה. נפגש ב-12:30 ליד Café Nero?",
     "rejected": "مرحبا! أنا بخير، شكرا لك. السعر 250 جنيها."},
    {"prompt": "ご注文をどうぞ", "chosen": "お茶を二つお願いします。two teas", "rejected": "两杯茶，谢谢。한국어도 됩니다。"}]
LONG = 10000


class Setting:
    page = None


def show(folder, data, rows, form, out):
    values = {"output": folder, "data__eval": data, "data__max_response_tokens": LONG + 10, "eval__model":
              f"{folder}/policy", **{f"eval__{name}": f"{folder}/{name}" for name in MODELS[1:]}}
    harness.run("eval", "-c", harness.write(f"{folder}/empty.cfg", ""), *training.settings(values), "--show", rows,
                "--format", form, "--out", out, timeout=300)


def prepare(folder):
    if browser.find() is None:
        return
    harness.make_desk(folder)
    for seed, name in enumerate(MODELS, 1):
        harness.make_model(folder, name, seed)
    data = harness.write_rows(f"{folder}/rows.jsonl", ROWS)
    show(folder, data, "0:2", "html", f"{folder}/tokens.html")
    show(folder, data, "0:2", "jsonl", f"{folder}/tokens.jsonl")
    Setting.page = browser.Browser()
    atexit.register(Setting.page.close)


def picture(name):
    if os.environ.get("ALD_PICTURES"):
        Setting.page.picture(os.path.join(os.environ["ALD_PICTURES"], name + ".png"))


def clean(page, path):
    """Nothing but the file was asked for, and nothing complained of."""
    assert page.requests and set(page.requests) == {f"file://{path}"}, page.requests
    assert page.problems == [], page.problems
    page.requests.clear()


def tokens_of(folder, row):
    return [token for token in harness.read_rows(f"{folder}/tokens.jsonl") if token["row"] == row]


def tip(page):
    """{title: number} of the tooltip, and {voice: [(text, share)]}."""
    assert page.run("getComputedStyle(get('tip')).display") == "block"
    rows = "(q => [...document.querySelectorAll(q)].map(r => [...r.cells].map(c => c.textContent)))"
    numbers = dict(page.run(rows + "('#tip .both > table tr')"))
    voices = page.run("[...document.querySelectorAll('#tip .voices table')].map(t => [t.caption.textContent, "
                      "[...t.rows].map(r => [...r.cells].map(c => c.textContent))])")
    return numbers, dict(voices), page.run("document.querySelector('#tip .head').textContent")


def a_mouse_shows_a_tokens_numbers(folder):
    page, path = Setting.page, f"{folder}/tokens.html"
    page.scheme("light")
    page.open(path)
    assert page.run("getComputedStyle(get('tip')).display") == "none"
    tokens = tokens_of(folder, 0)
    assert page.run("document.querySelectorAll('.t').length") == len(tokens)
    titles = {c["name"]: c["title"] for c in page.run("table.columns")}
    for at in (2, 5, len(tokens) - 3):
        page.hover(".t", at)
        numbers, voices, head = tip(page)
        token = tokens[at]
        assert f"position {token['position']}, id {token['id']}" in head, head
        assert set(numbers) == {title for name, title in titles.items() if name in token}
        for name, shown in ((name, numbers[title]) for name, title in titles.items()):
            assert abs(float(shown) - token[name]) <= 6e-5 or "e" in shown, (name, shown, token[name])
        teacher = token["alternatives"]["teacher"]
        for (_, share), one in zip(voices["the teacher would say"], teacher):
            assert abs(float(share[:-1]) - 100 * 2.718281828459045 ** one["logprob"]) < .06, (share, one)
        assert [len(list_) for list_ in voices.values()] == [5, 5, 5], voices
        picture(f"light-{at}")
    page.move(1, 1)
    assert page.run("getComputedStyle(get('tip')).display") == "none"
    clean(page, path)


COLOURS = "[...document.querySelectorAll('.t')].map(e => getComputedStyle(e).backgroundColor)"


def choose(page, column):
    page.run(f"(() => {{ const s = get('column'); s.value = '{column}'; s.dispatchEvent(new Event('change')); }})()")


def another_column_changes_the_colours(folder):
    page = Setting.page
    page.open(f"{folder}/tokens.html")
    assert page.run("get('column').value") == "reward"
    tokens, before = tokens_of(folder, 0), page.run(COLOURS)
    best = max(range(len(tokens)), key=lambda i: tokens[i]["reward"])
    worst = min(range(len(tokens)), key=lambda i: tokens[i]["reward"])
    assert before[best].startswith("rgba(30, 110, 190") and before[worst].startswith("rgba(205, 75, 20"), before
    lowest = {c: min(t[c] for t in harness.read_rows(f"{folder}/tokens.jsonl")) for c in tokens[0] if c in
              ("entropy", "policy", "kl_teacher", "tvd")}
    alpha = lambda colour: float(re.search(r"([\d.]+)\)$", colour)[1])  # noqa: E731
    for column in ("entropy", "policy", "kl_teacher", "tvd"):
        choose(page, column)
        after = page.run(COLOURS)
        assert after != before and all("125, 65, 165" in colour for colour in after), column
        order = sorted(range(len(tokens)), key=lambda i: tokens[i][column], reverse=column == "policy")
        assert alpha(after[order[0]]) <= alpha(after[order[len(order) // 2]]) <= alpha(after[order[-1]]), column
        assert f"{lowest[column]:.4f}" in page.run("get('help').textContent")
        before = after
    page.hover(".t", 3)
    assert page.run("document.querySelector('#tip tr.on').textContent").startswith("TVD")


def texts_stay_texts(folder):
    """Of every row and response what the data has, as text; parts of characters joined."""
    page, path = Setting.page, f"{folder}/tokens.html"
    page.open(path)
    for row, said in enumerate(ROWS):
        page.run(f"showRow({row})")
        texts = page.run("[...document.querySelectorAll('.tokens')].map(box => [...box.querySelectorAll('.t')].map("
                         "e => { const c = e.cloneNode(true); c.querySelectorAll('.x').forEach(x => x.remove()); "
                         "return c.textContent; }).join(''))")
        unseen = re.compile("[\x1b\u202e\u2028]")
        wanted = [unseen.sub("", said[kind]) + "<|im_end|>" for kind in ("chosen", "rejected")]
        assert texts == wanted, (texts, wanted)
        assert said["prompt"] in page.run("document.querySelector('pre').textContent")
        marks = page.run("[...document.querySelectorAll('.tokens .x')].map(e => e.textContent)")
        assert marks == [f"U+{ord(c):04X}" for c in unseen.findall(said["rejected"])], marks
    assert page.run("document.images.length + document.scripts.length") == 2 and page.run("document.title") != "owned"
    page.run("showRow(1)")
    assert page.run("[...document.querySelectorAll('.tokens')].map(e => getComputedStyle(e).direction)") == ["rtl"] * 2
    first, last = (page.run(f"document.querySelectorAll('.t')[{i}].getBoundingClientRect().x") for i in (0, 10))
    assert first > last, "Hebrew goes from right to left"
    page.hover(".t", 0)
    head = tip(page)[2]
    assert "of ש" in head, head
    picture("right-to-left")
    page.run("showRow(2)")
    page.hover(".t", 4)
    picture("east-asian")
    clean(page, path)


def search_and_navigator(folder):
    page = Setting.page
    page.open(f"{folder}/tokens.html")
    page.click("#search")
    page.type("two TEAS")
    count = sum(row[kind].lower().count("two teas") for row in ROWS for kind in ("chosen", "rejected"))
    assert page.run("get('found').textContent") == f"{count} in 2 rows"
    found = page.run("[...document.querySelectorAll('.found')].map(e => e.textContent).join('')")
    assert "Two" in found and len(found) < 12, found
    assert page.run("[...get('list').children].map(e => e.classList.contains('none'))") == [False, True, False]
    page.key("Enter", 13)
    page.key("Enter", 13)
    assert page.run("[row, get('found').textContent]") == [2, f"2 of {count}"]
    assert page.run("document.querySelectorAll('.here').length") > 0
    picture("search")
    page.click("#list button", 1)
    assert page.run("[row, get('row').value, get('before').disabled, get('after').disabled]") == [1, "1", False, False]
    page.click("#after")
    assert page.run("[row, get('after').disabled]") == [2, True]
    mean = sum(t["reward"] for t in tokens_of(folder, 2) if t["response"] == "chosen")
    assert f"sum of rewards {mean:.4f}" in page.run("document.querySelector('h2').textContent")
    page.run("document.querySelector('.t').focus()")
    page.key("ArrowRight", 39)
    assert page.run("document.activeElement.dataset.at") == "1" and "position 1," in tip(page)[2]
    page.call("Input.dispatchKeyEvent", type="keyDown", key="[", text="[")
    assert page.run("row") == 1


def bright(page, what="document.body"):
    return sum(page.run(f"getComputedStyle({what}).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")) / 765


def light_and_dark(folder):
    page = Setting.page
    for scheme, other in (("light", "dark"), ("dark", "light")):
        page.scheme(scheme)
        page.open(f"{folder}/tokens.html")
        assert (bright(page) > .5) == (scheme == "light"), scheme
        page.hover(".t", 6)
        picture(scheme)
        page.click("#scheme")
        assert (bright(page) > .5) == (other == "light"), scheme


def ten_thousand_tokens(folder):
    rows = [{"prompt": "Count", "chosen": " ".join(map(str, range(LONG)))[:LONG], "rejected": "no"}]
    data = harness.write_rows(f"{folder}/long.jsonl", rows)
    harness.tool("make_model.py", "--tokenizer", f"{folder}/tok", "--output", f"{folder}/small", "--hidden", 8,
                 "--layers", 1, "--heads", 1, "--kv-heads", 1, "--intermediate", 8, "--init-std", 0.5)
    path, page = f"{folder}/long.html", Setting.page
    harness.run("eval", "-c", f"{folder}/empty.cfg", *training.settings({
        "output": folder, "data__eval": data, "data__max_response_tokens": LONG + 10, "eval__model": f"{folder}/small",
        "eval__dpo": f"{folder}/small", "eval__contrast": f"{folder}/small"}), "--show", "0", "--format", "html",
        "--out", path, timeout=300)
    page.requests.clear()
    seconds = page.open(path)
    count = page.run("document.querySelectorAll('.t').length")
    times = page.run("(() => { const begun = performance.now(); chooseColumn('entropy'); document.body.offsetHeight; "
                     "const painted = performance.now(); get('search').value = '77'; search(); "
                     "return [painted - begun, performance.now() - painted]; })()")
    page.hover(".t", count // 2)
    assert f"position {count // 2}," in tip(page)[2]
    picture("long")
    clean(page, path)
    print(f"  {count} tokens, {os.path.getsize(path) / 1e6:.1f} MB: there after {seconds:.2f} s, another column "
          f"{times[0]:.0f} ms, a search {times[1]:.0f} ms")
    assert count > 5000, count


def looked_at(page, path, *words):
    """A page of tables: its texts are there as texts, legible in light and in dark, with nothing run or fetched."""
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        page.requests.clear()
        page.open(path)
        page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        text = page.run("document.body.textContent")
        for word in words:
            assert word in text, (path, word)
        assert page.run("document.title").startswith("aligndistil ") and page.run("document.images.length") == 0
        assert page.run("document.scripts.length") == 0
        ink = page.run("getComputedStyle(document.querySelector('td')).color.match(/\\d+/g).map(Number)")
        assert (sum(ink[:3]) < 382) == (scheme == "light"), ink
        picture(os.path.basename(path) + "-" + scheme)
        clean(page, path)


def the_audits_page(folder):
    rows = [*ROWS, ROWS[0], {"prompt": EVIL, "chosen": EVIL, "rejected": EVIL}]
    harness.run("audit", "-c", f"{folder}/empty.cfg", *training.settings({
        "output": folder, "audit__output": "audit",
        "data__train": harness.write_rows(f"{folder}/audited.jsonl", rows)}))
    looked_at(Setting.page, f"{folder}/audit/audit.html", f"audit of {folder}/audited.jsonl", "duplicate")


def the_evaluations_page(folder):
    """And the way from it to a page of tokens, whose address names a row."""
    rows = [*ROWS, {"prompt": EVIL, "chosen": "no", "rejected": EVIL, "subset": EVIL, "required": ["x"]}]
    harness.run("eval", "-c", f"{folder}/empty.cfg", *training.settings({
        "output": folder, "eval__output": "measured", "eval__model": f"{folder}/policy", "eval__dpo": f"{folder}/dpo",
        "eval__reference": f"{folder}/reference", "sampling__max_new_tokens": 5,
        "data__eval": harness.write_rows(f"{folder}/evaluated.jsonl", rows)}))
    page, path = Setting.page, f"{folder}/measured/eval.html"
    looked_at(page, path, "reward_accuracy", "<b>cake</b>", "ご注文をどうぞ", "document.title='owned'", "\\x1b", "\\u202eback", "--show ROW")
    assert page.run("getComputedStyle(document.querySelector('pre')).unicodeBidi") == "plaintext"
    page.open(f"{folder}/tokens.html#2")
    assert page.run("[row, get('row').value]") == [2, "2"]
    page.run("location.hash = '#1'")
    assert page.run("new Promise(done => setTimeout(() => done(row), 50))") == 1
    page.requests.clear()


def the_monitors_page(folder):
    rows = [{**ROWS[0], "required": ["Two teas", "<img src=x>"], "forbidden": ["onerror"]}, ROWS[1]]
    harness.run("sft", "-c", f"{folder}/empty.cfg", *training.settings({
        "output": folder, "sft__model": f"{folder}/policy", "data__train": harness.write_rows(f"{folder}/train.jsonl", rows),
        "monitor__rows": f"{folder}/train.jsonl", "monitor__every": 1, "monitor__answer_tokens": 4,
        "optimizer__max_steps": 3, "optimizer__epochs": 9}))
    page, path = Setting.page, f"{folder}/sft/monitor.html"
    looked_at(page, path, "row 0", "Two teas", "onerror", "greedy answer", "steps 1 to 3")
    lines = page.run("[...document.querySelectorAll('polyline')].map(e => e.points.length)")
    assert lines and set(lines) == {3}, lines


def pages_are_looked_at(folder):
    raise harness.Skip("no browser (tools/setup.sh --test installs one)")


if __name__ == "__main__":
    CASES = [a_mouse_shows_a_tokens_numbers, another_column_changes_the_colours, texts_stay_texts, search_and_navigator,
             light_and_dark, ten_thousand_tokens, the_audits_page, the_evaluations_page, the_monitors_page]
    harness.main(CASES if browser.find() else [pages_are_looked_at], prepare)
