//! The report in a browser: every figure is drawn, and no script fails.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::reporting::report;
use crate::support::Folder;

/// Catches what fails before anything else of the page runs.
const CATCH: &str = r#"<script>
window.failures = [];
addEventListener("error", (event) => failures.push(String(event.message || event.target)), true);
addEventListener("unhandledrejection", (event) => failures.push(String(event.reason)));
</script>"#;

/// Uses the page as a reader would, and writes down what is seen.
const LOOK: &str = r#"<pre id="seen"></pre><script>
const size = (element) => { const box = element.getBoundingClientRect(); return [box.width, box.height]; };
const plots = [...document.querySelectorAll("svg.plot")].map((plot) => ({
  name: plot.getAttribute("aria-label"),
  size: size(plot),
  shapes: [...plot.querySelectorAll("circle, polygon, polyline, line, rect")]
    .filter((shape) => { const box = shape.getBBox(); return box.width + box.height > 0; }).length,
  outside: [...plot.querySelectorAll("text")].filter((text) => {
    const [inner, outer] = [text.getBoundingClientRect(), plot.getBoundingClientRect()];
    return inner.left < outer.left - 1 || inner.right > outer.right + 1;
  }).map((text) => text.textContent.trim()),
}));
const table = document.querySelector("table.sortable");
const first = () => table.tBodies[0].rows[0].cells[0].textContent;
const labels = [];
for (const button of table.querySelectorAll("thead button")) { button.click(); labels.push(first()); }
const [name] = table.querySelectorAll("thead button");
name.click(); const up = first(); name.click(); const down = first();
const field = document.querySelector("input[data-filters]");
field.value = "garden"; field.dispatchEvent(new Event("input"));
const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden).length;
const ink = getComputedStyle(document.querySelector("svg.plot text")).fill;
document.getElementById("seen").textContent = JSON.stringify({
  failures, plots, up, down, shown, ink,
  paper: getComputedStyle(document.body).backgroundColor,
  wide: document.documentElement.scrollWidth > innerWidth,
});
</script></body>"#;

fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    })
}

/// Opens a page and returns what the page says that it sees.
fn open(browser: &str, page: &str, folder: &Folder, options: &[&str]) -> Value {
    let page = page.replacen("<head>", &format!("<head>{CATCH}"), 1);
    let end = page.rfind("</body>").unwrap();
    let page = format!("{}{LOOK}{}", &page[..end], &page[end + "</body>".len()..]);
    let file = folder.write("probe.html", page);
    let dom = folder.path("dom.html");
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", folder.path("profile")))
        .args(options)
        .args(["--dump-dom", &format!("file://{file}")])
        .stdout(File::create(&dom).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("the browser did not read the page within two minutes");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let dom = fs::read_to_string(dom).unwrap();
    let start =
        dom.find("<pre id=\"seen\">").expect("the page was read") + "<pre id=\"seen\">".len();
    let end = start + dom[start..].find("</pre>").unwrap();
    let seen = dom[start..end].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap_or_else(|_| panic!("no answer: {seen}"))
}

// Whoever runs the tests shall know what was not looked at.
#[allow(clippy::print_stderr)]
#[test]
fn every_figure_is_drawn_and_no_script_fails() {
    let Some(browser) = chromium() else {
        eprintln!(
            "skipped: there is no Chromium on this machine; `apt-get install chromium` brings it"
        );
        return;
    };
    let folder = Folder::new();
    let (page, _) = report(&folder);
    let light = open(browser, &page, &folder, &["--window-size=1200,900"]);
    assert_eq!(light["failures"], Value::Array(vec![]), "{light}");
    let plots = light["plots"].as_array().unwrap();
    let names: Vec<&str> = plots.iter().map(|plot| plot["name"].as_str().unwrap()).collect();
    for (name, n_plots) in [
        ("Figure 2: micro-F1 against k", 1),
        ("Figure 2: micro-F1 against lambda", 1),
        ("Figure 3: a text among its neighbors", 2),
        ("Figure 4: micro-F1 against gamma", 1),
        ("Reliability: share of right labels against score", 1),
        ("Micro-F1 by the number of training texts that have a label", 1),
    ] {
        assert_eq!(
            names.iter().filter(|found| **found == name).count(),
            n_plots,
            "{name}: {names:?}"
        );
    }
    for plot in plots {
        let side = |side: usize| plot["size"][side].as_f64().unwrap();
        assert!(side(0) > 200.0 && side(1) > 150.0, "{plot}");
        assert!(plot["shapes"].as_u64().unwrap() >= 6, "{plot}");
        assert_eq!(plot["outside"], Value::Array(vec![]), "{plot}");
    }
    assert_ne!(light["up"], light["down"], "pressing a column's name turns the order round");
    assert_eq!((&light["shown"], &light["wide"]), (&Value::from(1), &Value::from(false)));

    // On a narrow and dark screen: other inks, and nothing sticks out.
    let options = ["--window-size=500,900", "--blink-settings=preferredColorScheme=0"];
    let dark = open(browser, &page, &folder, &options);
    assert_eq!((&dark["failures"], &dark["wide"]), (&Value::Array(vec![]), &Value::from(false)));
    assert_ne!(dark["ink"], light["ink"]);
    assert_ne!(dark["paper"], light["paper"]);
}

#[test]
fn figures_are_drawn_with_inks_that_the_page_knows() {
    let (page, _) = report(&Folder::new());
    let style = &page[..page.find("</style>").unwrap()];
    let mut n_inks = 0;
    for attribute in ["fill=\"", "stroke=\""] {
        for part in page[style.len()..].split(attribute).skip(1) {
            let ink = part.split('"').next().unwrap();
            if ink != "none" {
                assert!(style.contains(&format!("svg [{attribute}{ink}\"]")), "{attribute}{ink}");
                n_inks += 1;
            }
        }
    }
    assert!(n_inks > 100);
}
