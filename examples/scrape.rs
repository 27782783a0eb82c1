//! A small crawler that reports to the job monitor.
//!
//! It serves a small shop on localhost, crawls it politely over HTTP (two requests at a time, a pause before each),
//! and posts what happens as events: `job_started`, `job_progress`, `item_scraped`, `error`, `job_completed`.
//! To crawl a site of your own instead, name it with `--site`.
//!
//! ```text
//! cargo run --features job-monitor --bin job-monitor          # prints a publisher token
//! cargo run --features job-monitor --example scrape -- --token TOKEN
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use clap::{Arg, ArgMatches, Command, value_parser};
use reqwest::{Client, Url};
use scraper::{Html as Document, Selector};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&arguments()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scrape: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let text = |name: &str| arguments.get_one::<String>(name).cloned();
    let token = text("token")
        .or_else(|| std::env::var("SCRAPE_TOKEN").ok())
        .ok_or("a token that may publish is missing: --token or SCRAPE_TOKEN")?;
    let job = text("job").unwrap_or_else(|| format!("crawl-{}", millis_now() / 1000));
    let pages = *arguments.get_one::<u32>("pages").ok_or("--pages has a default")?;
    let delay = Duration::from_millis(*arguments.get_one::<u64>("delay").ok_or("--delay has a default")?);
    let start = match text("site") {
        Some(site) => site.parse()?,
        None => serve_shop(pages).await?,
    };

    let client = Client::builder().timeout(Duration::from_secs(10)).build()?;
    let monitor = text("monitor").ok_or("--monitor has a default")?;
    let events = format!("{}/jobs/{job}/events", monitor.trim_end_matches('/'));
    let reporter = Reporter { client: client.clone(), events, job: job.clone(), token };
    println!("job {job}: crawling {start}");
    reporter.post("job_started", json!({ "name": "Bookshop crawl", "url": start.as_str() })).await?;

    let mut crawl = Crawl::new(client, start, delay, pages as usize);
    tokio::select! {
        ended = crawl.run(&reporter) => ended?,
        _ = tokio::signal::ctrl_c() => {
            reporter.post("job_failed", json!({ "message": "interrupted" })).await?;
            return Err("interrupted".into());
        }
    }
    println!("job {job}: {} pages, {} items", crawl.progress.pages_scraped, crawl.progress.items_scraped);
    Ok(())
}

fn arguments() -> ArgMatches {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("scrape")
        .about("Crawls a small site and reports to the job monitor")
        .arg(option("monitor", "URL", "The job monitor").default_value("http://127.0.0.1:4000"))
        .arg(option("token", "TOKEN", "A token that may publish [env: SCRAPE_TOKEN]"))
        .arg(option("job", "ID", "The job's id [default: crawl- and the time]"))
        .arg(
            option("pages", "NUMBER", "How many pages to crawl at most; the shop of its own has as many")
                .value_parser(value_parser!(u32).range(1..=1000))
                .default_value("30"),
        )
        .arg(
            option("delay", "MILLISECONDS", "The pause before each request")
                .value_parser(value_parser!(u64).range(0..=60_000))
                .default_value("2000"),
        )
        .arg(option("site", "URL", "Crawl this site instead of the shop of its own (http)"))
        .get_matches()
}

/// Posts the events of one job, in order.
struct Reporter {
    client: Client,
    events: String,
    job: String,
    token: String,
}

impl Reporter {
    /// Posts one event. A monitor that cannot be reached is tried a few times; one that says no is believed.
    async fn post(&self, kind: &str, data: Value) -> Result<(), Failure> {
        let event = json!({ "type": kind, "jobId": self.job, "timestamp": millis_now(), "data": data });
        let mut pause = Duration::from_millis(200);
        for attempt in 1.. {
            match self.client.post(&self.events).bearer_auth(&self.token).json(&event).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if !answer.status().is_server_error() || attempt == ATTEMPTS => {
                    let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
                    return Err(format!("the monitor answered {status} to {kind}: {body}").into());
                }
                Err(error) if attempt == ATTEMPTS => {
                    return Err(format!("the monitor cannot be reached at {}: {error}", self.events).into());
                }
                _ => tokio::time::sleep(pause).await,
            }
            pause *= 2;
        }
        Ok(())
    }
}

/// A crawl of one site: what is still to do, what was seen, how far it has come.
struct Crawl {
    client: Client,
    delay: Duration,
    max_pages: usize,
    started: Instant,
    waiting: VecDeque<Url>,
    seen: BTreeSet<Url>,
    progress: Progress,
}

#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    items_scraped: usize,
    pages_scraped: usize,
    current_page: usize,
    total_pages: usize,
    /// Milliseconds.
    elapsed_time: u64,
}

/// What one page held.
struct Page {
    links: Vec<Url>,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    name: String,
    price: f64,
    url: String,
}

impl Crawl {
    fn new(client: Client, start: Url, delay: Duration, max_pages: usize) -> Crawl {
        Crawl {
            client,
            delay,
            max_pages,
            started: Instant::now(),
            waiting: VecDeque::from([start.clone()]),
            seen: BTreeSet::from([start]),
            progress: Progress::default(),
        }
    }

    /// Crawls until no page is left, and reports each as it comes.
    async fn run(&mut self, reporter: &Reporter) -> Result<(), Failure> {
        let mut fetching = JoinSet::new();
        loop {
            while fetching.len() < CONCURRENCY {
                let Some(url) = self.waiting.pop_front() else { break };
                fetching.spawn(fetch(self.client.clone(), url, self.delay));
            }
            let Some(fetched) = fetching.join_next().await else { break };
            let (url, page) = fetched?;
            self.progress.current_page += 1;
            match page {
                Ok(page) => self.take_in(page, reporter).await?,
                Err(error) => {
                    reporter
                        .post("error", json!({ "message": error.to_string(), "url": url.as_str() }))
                        .await?;
                }
            }
            reporter.post("job_progress", self.figures()).await?;
        }
        reporter.post("job_completed", self.figures()).await
    }

    async fn take_in(&mut self, page: Page, reporter: &Reporter) -> Result<(), Failure> {
        self.progress.pages_scraped += 1;
        for link in page.links {
            if self.seen.len() < self.max_pages && self.seen.insert(link.clone()) {
                self.waiting.push_back(link);
            }
        }
        for item in page.items {
            self.progress.items_scraped += 1;
            reporter.post("item_scraped", serde_json::to_value(item)?).await?;
        }
        Ok(())
    }

    fn figures(&mut self) -> Value {
        self.progress.total_pages = self.seen.len();
        self.progress.elapsed_time = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        json!(self.progress)
    }
}

/// Waits, fetches and reads one page.
async fn fetch(client: Client, url: Url, delay: Duration) -> (Url, Result<Page, Failure>) {
    tokio::time::sleep(delay).await;
    let page = async {
        let answer = client.get(url.clone()).send().await?;
        if !answer.status().is_success() {
            return Err(format!("{} answered {}", url.path(), answer.status()).into());
        }
        read_page(&url, &answer.text().await?)
    };
    let page = page.await;
    (url, page)
}

/// The links of a page that stay on its site, and the items it lists.
fn read_page(url: &Url, html: &str) -> Result<Page, Failure> {
    let document = Document::parse_document(html);
    let links = document
        .select(&Selector::parse("a[href]")?)
        .filter_map(|link| url.join(link.value().attr("href")?).ok())
        .filter(|link| link.origin() == url.origin())
        .map(|mut link| {
            link.set_fragment(None);
            link
        })
        .collect();
    let (name, price) = (Selector::parse(".name")?, Selector::parse(".price")?);
    let items = document
        .select(&Selector::parse(".item")?)
        .filter_map(|item| {
            let text = |part| item.select(part).next().map(|element| element.text().collect::<String>());
            let price = text(&price)?.trim_start_matches('€').parse().ok()?;
            Some(Item { name: text(&name)?, price, url: url.to_string() })
        })
        .collect();
    Ok(Page { links, items })
}

/// Serves the shop on a free port of localhost, and says where it begins.
async fn serve_shop(pages: u32) -> Result<Url, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let start = format!("http://{}/page/1", listener.local_addr()?).parse()?;
    let shop = Router::new().route("/page/{number}", get(shop_page)).with_state(pages);
    // It ends with the process.
    tokio::spawn(async move { axum::serve(listener, shop).await });
    Ok(start)
}

/// A page of the shop: some books, and links to the pages around it. One page is broken, as one always is.
async fn shop_page(
    State(pages): State<u32>,
    Path(number): Path<u32>,
) -> Result<Html<String>, (StatusCode, &'static str)> {
    if number == 0 || number > pages {
        return Err((StatusCode::NOT_FOUND, "no such page"));
    }
    if number == BROKEN_PAGE {
        return Err((StatusCode::INTERNAL_SERVER_ERROR, "the shelf fell over"));
    }
    let mut html = format!("<!doctype html><html lang=en><title>Page {number}</title><ul>");
    for place in 0..1 + number % 4 {
        let (subject, form) =
            ((number + place) as usize % SUBJECTS.len(), (number * 3 + place) as usize % FORMS.len());
        let cents = 499 + (number * 37 + place * 211) % 3000;
        let (subject, form) = (SUBJECTS[subject], FORMS[form]);
        let (euros, cents) = (cents / 100, cents % 100);
        html.push_str(&format!(
            "<li class=item><span class=name>{form} {subject}</span> <span class=price>€{euros}.{cents:02}</span>"
        ));
    }
    html.push_str("</ul><nav>");
    for other in 1..=pages {
        // The first page is the catalogue; from the others one turns the leaves.
        if number == 1 || other == 1 || other.abs_diff(number) == 1 {
            html.push_str(&format!("<a href=/page/{other}>{other}</a> "));
        }
    }
    html.push_str("<a href=https://example.com/>elsewhere</a></nav></html>");
    Ok(Html(html))
}

fn millis_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const SUBJECTS: [&str; 7] = ["Lighthouses", "Iron", "Tides", "Bridges", "Moss", "Clocks", "Maps"];
const FORMS: [&str; 5] = ["A History of", "Notes on", "The Book of", "Letters about", "An Atlas of"];
const BROKEN_PAGE: u32 = 7;
const CONCURRENCY: usize = 2; // what a small site bears from one visitor
const ATTEMPTS: u32 = 5;
