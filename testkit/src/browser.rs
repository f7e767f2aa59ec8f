//! A real browser without a screen, by the protocol of its developer tools: messages of JSON, each ended by a
//! zero byte, over two named pipes.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::child::Child;
use crate::scratch::Scratch;
use crate::skip::skip;
use crate::wait::poll_for;

/// The programs that speak this protocol.
const PROGRAMS: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// The folder for pictures of pages. Without it none are taken.
const PICTURES: &str = "STANDIN_SCREENSHOTS";
/// The longest wait for something that takes milliseconds on an idle machine.
const WITHIN: Duration = Duration::from_secs(20);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    messages: Receiver<Value>,
    requests: RefCell<File>,
    last_id: Cell<u64>,
    session: String,
    /// What the page has complained of.
    complaints: RefCell<Vec<String>>,
    _process: Child,
    _scratch: Scratch,
}

impl Browser {
    /// Starts one, if the machine has any; otherwise the test is skipped.
    ///
    /// # Panics
    /// If there is none and `STANDIN_REQUIRE_BROWSER` is 1, or if it does not start.
    #[must_use]
    pub fn start_or_skip(test: &str) -> Option<Self> {
        match Self::available() {
            Ok(program) => Some(Self::start(program)),
            Err(missing) => {
                skip(test, "STANDIN_REQUIRE_BROWSER", missing);
                None
            }
        }
    }

    /// The browser of this machine.
    ///
    /// # Errors
    /// There is none: the package to install.
    pub fn available() -> Result<&'static str, &'static str> {
        let runs = |program: &&&'static str| {
            let mut command = Command::new(program);
            let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let missing = "a browser (Debian: chromium-headless-shell)";
        PROGRAMS.iter().find(runs).copied().ok_or(missing)
    }

    /// Starts this browser.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(program: &str) -> Self {
        let scratch = Scratch::new("browser");
        let (to, from) = (scratch.file("to"), scratch.file("from"));
        let status = Command::new("mkfifo").args([&to, &from]).status();
        assert!(status.is_ok_and(|status| status.success()), "mkfifo makes named pipes");
        let mut command = Command::new("sh");
        // It reads from descriptor 3 and writes to 4.
        command.args(["-c", "exec \"$0\" \"$@\" 3<to 4>from", program, "--headless"]);
        command.args(["--remote-debugging-pipe", "--no-sandbox", "--no-first-run"]);
        command.args(["--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", scratch.file("profile").display()));
        command.arg("about:blank").current_dir(scratch.path());
        let process = Child::spawn("browser", command, scratch.path());
        let requests = OpenOptions::new().write(true).open(&to).expect("the browser reads");
        let messages = File::open(&from).expect("the browser writes");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(messages).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("it is JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            messages: receiver,
            requests: RefCell::new(requests),
            last_id: Cell::new(0),
            session: String::new(),
            complaints: RefCell::default(),
            _process: process,
            _scratch: scratch,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        browser
    }

    /// Asks the browser, and returns its answer.
    #[track_caller]
    fn ask(&self, method: &str, params: Value) -> Value {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let mut request = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            request["sessionId"] = json!(self.session);
        }
        let mut requests = self.requests.borrow_mut();
        write!(requests, "{request}\0").and_then(|()| requests.flush()).expect("it reads");
        let answer = poll_for(WITHIN, || self.next().filter(|message| message["id"] == id));
        let answer = answer.unwrap_or_else(|| panic!("the browser does not answer {method}"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The next message, if there is one. Complaints are kept.
    fn next(&self) -> Option<Value> {
        let message = match self.messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => panic!("the browser has ended"),
        };
        let (params, kind) = (&message["params"], message["method"].as_str().unwrap_or_default());
        let is_complaint = match kind {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => params["type"] == "error" || params["type"] == "warning",
            "Log.entryAdded" => params["entry"]["level"] == "error",
            _ => false,
        };
        if is_complaint {
            self.complaints.borrow_mut().push(params.to_string());
        }
        Some(message)
    }

    /// Opens a page on a screen of this size.
    pub fn open(&self, url: &str, width: u32, height: u32) {
        self.resize(width, height);
        self.ask("Page.navigate", json!({ "url": url }));
    }

    /// Changes the size of the screen. One that is narrow is a phone's.
    pub fn resize(&self, width: u32, height: u32) {
        let is_phone = width < 600;
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone,
        });
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Makes the page light or dark, as a user may prefer it.
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.ask("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// Returns the value of an expression of JavaScript.
    #[track_caller]
    pub fn value(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&self, what: &str, expression: &str) {
        let found = poll_for(WITHIN, || (self.value(expression) == true).then_some(()));
        if found.is_none() {
            panic!("{what} is not shown:\n{}", self.value("document.body.innerText"));
        }
    }

    /// Takes a picture of the whole page, if somebody wants to look at it.
    pub fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os(PICTURES).map(PathBuf::from) else { return };
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.ask("Page.captureScreenshot", params);
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture"));
        std::fs::write(folder.join(format!("{name}.png")), bytes.expect("base64"))
            .expect("the folder can be written");
    }

    /// What the page has complained of since the last call: errors and warnings on its console, and what
    /// could not be loaded.
    pub fn complaints(&self) -> Vec<String> {
        // What was said before this question is answered has arrived.
        self.value("0");
        self.complaints.take()
    }
}
