//! Chromium without a screen, driven over WebDriver by Debian's chromedriver.

use std::{net::SocketAddr, panic::resume_unwind, path::Path, process::Stdio, time::Duration};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, KeyAction, KeyActions},
    elements::Element,
    key::Key,
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Bounds whatever a browser does: with others on two processors it takes its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The screen that the page is shown on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Screen {
    /// 1280 pixels wide, light.
    Desk,
    /// 390 pixels wide, dark.
    Phone,
}

/// A browser with one page. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Browser(Client);

/// Runs `test` with a browser of its own, which is gone afterwards whatever happens.
pub(crate) async fn with_browser<F, T>(screen: Screen, test: F)
where
    F: FnOnce(Browser) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    // Its output must stay open as long as it lives.
    let (driver, port) = start_driver().await;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut builder = ClientBuilder::new(connector);
    let Value::Object(capabilities) = capabilities(screen) else { unreachable!("it is an object") };
    builder.capabilities(capabilities);
    let address = format!("http://127.0.0.1:{port}");
    let client = timeout(PATIENCE, builder.connect(&address)).await;
    let client = client.expect("Chromium does not start").expect("Chromium does not start");

    let ended = tokio::spawn(test(Browser(client.clone()))).await;
    // Chromium ends with its session; its driver would leave it behind.
    let closed = timeout(PATIENCE, client.close()).await;
    drop(driver);
    if let Err(error) = ended {
        resume_unwind(error.into_panic());
    }
    closed.expect("Chromium does not end").expect("Chromium does not end");
}

fn capabilities(screen: Screen) -> Value {
    let mut arguments =
        vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
    let mut options = json!({"binary": "/usr/bin/chromium"});
    match screen {
        Screen::Desk => arguments.push("--window-size=1280,900"),
        Screen::Phone => {
            arguments.push("--force-dark-mode");
            let metrics = json!({"width": 390, "height": 844, "pixelRatio": 1.0});
            options["mobileEmulation"] = json!({"deviceMetrics": metrics});
        }
    }
    options["args"] = json!(arguments);
    json!({"goog:chromeOptions": options})
}

/// Starts a driver on a port that it picks.
async fn start_driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("these tests need Debian's chromium and chromium-driver");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver ended");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                return port.trim_end_matches('.').parse().unwrap();
            }
        }
    });
    let port = port.await.expect("chromedriver does not start");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (driver, port)
}

impl Browser {
    /// Opens the page of this admin listener.
    pub(crate) async fn open(&self, admin: SocketAddr) {
        self.0.goto(&format!("http://{admin}/")).await.unwrap();
        self.until("document.getElementById('link').dataset.state === 'live'").await;
    }

    /// The value of a JavaScript expression.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        let answer = timeout(PATIENCE, self.0.execute(&script, vec![])).await;
        answer.expect("the page does not answer").unwrap()
    }

    /// Waits until a JavaScript expression is something other than false, null, 0 or nothing, and gives it.
    pub(crate) async fn until(&self, expression: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.value(expression).await;
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != 0 && value != "" {
                return value;
            }
            assert!(Instant::now() < deadline, "never so: {expression}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The text of the one element that is there, or will soon be.
    pub(crate) async fn text(&self, css: &str) -> String {
        let found = format!("document.querySelector({css:?})?.textContent");
        self.until(&found).await.as_str().unwrap().to_owned()
    }

    pub(crate) async fn find(&self, css: &str) -> Element {
        self.0.find(Locator::Css(css)).await.unwrap()
    }

    /// Clicks where an element is, as a mouse does.
    pub(crate) async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// Presses keys one after the other, wherever the focus is.
    pub(crate) async fn press(&self, keys: impl IntoIterator<Item = char>) {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for value in keys {
            actions = actions.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        }
        self.0.perform_actions(actions).await.unwrap();
    }

    pub(crate) async fn key(&self, key: Key) {
        self.press([char::from(key)]).await;
    }

    /// Keeps what is to be seen, for people to look at.
    pub(crate) async fn picture(&self, name: &str) {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"));
        std::fs::write(&file, self.0.screenshot().await.unwrap()).unwrap();
        println!("{}", file.display());
    }
}
