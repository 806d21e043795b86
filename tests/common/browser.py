"""A headless Chromium on the DevTools protocol over a pipe: no network, no driver, no package of Python.

--remote-debugging-pipe has the browser read commands from file 3 and write answers and events to file 4,
JSON texts that each end with a NUL."""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def pipe():
    """Both ends, with numbers that nothing else is put at."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20))
        os.close(end)
    return ends


class Browser:
    """One page. `requests` are the addresses that were asked for, `problems` what the console was told and
    what was thrown."""

    def __init__(self, width=1280, height=800):
        self.folder = tempfile.mkdtemp(prefix="browser-")
        self.number, self.buffer, self.session = 0, b"", None
        self.requests, self.problems, self.events = [], [], []
        command = [find(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--remote-debugging-pipe", "--hide-scrollbars", "--no-first-run",
                   f"--user-data-dir={self.folder}", f"--window-size={width},{height}", "about:blank"]
        down, self.send_end = pipe()
        self.receive_end, up = pipe()
        # The shell puts the pipes where the browser looks for them.
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{down} 4>&{up} {down}<&- {up}>&-', *command],
            pass_fds=(down, up), start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(down)
        os.close(up)
        target = self.call("Target.createTarget", url="about:blank", width=width, height=height)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.size(width, height)

    def close(self):
        """Without its pipe the browser ends."""
        os.close(self.send_end)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.receive_end)
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self, deadline):
        """The next message."""
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.receive_end], [], [], left)[0], "the browser doesn't answer"
            piece = os.read(self.receive_end, 1 << 20)
            assert piece, "the browser has ended"
            self.buffer += piece
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def note(self, event):
        self.events.append(event["method"])
        said = event["params"]
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif event["method"] == "Log.entryAdded":
            self.problems.append(said["entry"]["text"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.problems.append(said["exceptionDetails"].get("exception", {}).get("description", str(said)))
        elif event["method"] == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.problems.append(str([a.get("value") for a in said["args"]]))

    def call(self, method, timeout=60, **parameters):
        """Sends a command and returns its result; events on the way are noted."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.send_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self.read(deadline)
            if "method" in answer:
                self.note(answer)
            elif answer["id"] == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    # --- what tests do ---

    def open(self, path, timeout=60):
        """Opens a file and waits until it is loaded; the seconds that took."""
        begun = time.monotonic()
        self.events.clear()
        self.call("Page.navigate", url="file://" + os.path.abspath(path))
        while "Page.loadEventFired" not in self.events:
            answer = self.read(begun + timeout)
            if "method" in answer:
                self.note(answer)
        return time.monotonic() - begun

    def run(self, script):
        """The value of an expression on the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def middle(self, selector, index=0):
        """The middle of the first box of an element, which is scrolled to."""
        return self.run(f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{index}]; "
                        "e.scrollIntoView({block: 'center'}); return new Promise(done => "
                        "requestAnimationFrame(() => requestAnimationFrame(() => { const r = e.getClientRects()[0]; "
                        "done([r.x + r.width / 2, r.y + r.height / 2]); }))); })()")

    def hover(self, selector, index=0):
        self.move(1, 1)
        self.move(*self.middle(selector, index))

    def click(self, selector, index=0):
        x, y = self.middle(selector, index)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, name, code=0):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
