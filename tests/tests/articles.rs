//! Articles and feeds: one page is one article on every device, what is highlighted stays where its words are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::{Arc, Mutex};

use lifeos_client_core::client::{Client, EntityQuery, InitOptions};
use lifeos_tests::world::{World, assert_settled, sync_each};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const URL: &str = "https://example.org/sea?utm_source=mail";

fn page(paragraphs: &str) -> String {
    format!(
        "<html><head><title>The sea</title></head><body><nav>Home, News, Sport, Weather</nav><article>{paragraphs}</article></body></html>"
    )
}

const FIRST: &str = "<p>It was the best of times, it was the worst of times, it was the age of wisdom, as somebody wrote.</p>\
                     <p>The sea, on the other hand, was as it always is, and said nothing of <b>any</b> age at all.</p>";

fn home(dir: &TempDir) -> Client {
    let options = InitOptions { device_name: "laptop".into(), person_name: "Ana".into(), relay: None };
    Client::create(&dir.path().join("home"), options).unwrap().0
}

#[test]
fn a_highlight_survives_a_page_that_is_saved_again_and_goes_out_with_it() {
    let dir = TempDir::new().unwrap();
    let client = home(&dir);
    let saved = client.article_save(URL, page(FIRST).as_bytes()).unwrap();
    assert_eq!((saved.url.as_str(), saved.title.as_str(), saved.is_new), ("https://example.org/sea", "The sea", true));
    let mark = client.article_highlight(&saved.id, ("the age of wisdom", 1), "how true", "green").unwrap();
    client.article_highlight(&saved.id, ("said nothing of any age", 1), "", "yellow").unwrap();
    assert!(client.article_highlight(&saved.id, ("what nobody wrote", 1), "", "yellow").is_err());
    client.article_set_state(&saved.id, "reading").unwrap();
    client.article_read_to(&saved.id, 400).unwrap();

    // The page got another beginning, another order and other letters; and it lost a passage.
    let later = "<p>A new beginning, which is long enough to be a paragraph, and which nobody had expected at all.</p>\
                 <p>It was the best of times, <i>it was</i> the worst of times, it was\n the <em>age of wisdom</em>, as somebody wrote.</p>";
    let again = client.article_save("http://example.org/sea#top", page(later).as_bytes()).unwrap();
    assert_eq!((again.id.as_str(), again.is_new), (saved.id.as_str(), false));
    let article = client.article(&saved.id).unwrap();
    assert_eq!((article.values["state"].as_str(), article.progress), (Some("reading"), 400));
    let [found, lost] = article.highlights.as_slice() else { panic!("{:?}", article.highlights) };
    assert_eq!((found.id.as_str(), found.found.as_deref()), (mark.as_str(), Some("the age of wisdom")));
    assert_eq!((lost.exact.as_str(), lost.found.as_deref()), ("said nothing of any age", None));
    let markdown = client.article_markdown(&saved.id).unwrap();
    assert!(
        markdown.contains("title: \"The sea\"\n") && markdown.ends_with("> said nothing of any age\n"),
        "{markdown}"
    );
    assert!(markdown.contains("\n> the age of wisdom\n\nhow true\n"), "{markdown}");

    client.article_unhighlight(&saved.id, &mark).unwrap();
    assert_eq!(client.article(&saved.id).unwrap().highlights.len(), 1);
    assert!(client.article_save("javascript:alert(1)", b"").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_saved_on_two_devices_is_one_article_with_the_highlights_of_both() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let one = laptop.article_save(URL, page(FIRST).as_bytes()).unwrap();
    let other = phone.article_save("http://example.org/sea", page(FIRST).as_bytes()).unwrap();
    assert_eq!(one.id, other.id);
    laptop.article_highlight(&one.id, ("the best of times", 1), "laptop", "red").unwrap();
    phone.article_highlight(&one.id, ("The sea", 1), "phone", "blue").unwrap();
    laptop.article_read_to(&one.id, 300).unwrap();
    phone.article_read_to(&one.id, 700).unwrap();
    sync_each(&[&laptop, &phone, &laptop]).await;
    assert_settled(&[&laptop, &phone]);
    for client in [&laptop, &phone] {
        assert_eq!(client.entities("article", &EntityQuery::default()).unwrap().len(), 1);
        let article = client.article(&one.id).unwrap();
        assert_eq!(article.highlights.iter().map(|one| one.note.as_str()).collect::<Vec<_>>(), ["laptop", "phone"]);
        assert_eq!((article.progress, article.body.matches("best of times").count()), (700, 1));
    }
}

/// A site that answers every request with what is set, and counts what it was asked.
struct Site {
    url: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/feed", listener.local_addr().unwrap().port());
        let (answer, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let (given, heard) = (Arc::clone(&answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") && stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
                heard.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
                let answer = given.lock().unwrap().clone();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, answer, asked }
    }

    fn set(&self, head: &str, body: &str) {
        *self.answer.lock().unwrap() = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

fn rss(items: &[&str]) -> String {
    let items: String = items
        .iter()
        .map(|name| format!("<item><title>{name}</title><link>https://example.org/{name}</link><description>About {name}</description></item>"))
        .collect();
    format!("<rss version='2.0'><channel><title>News</title>{items}</channel></rss>")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_brings_each_entry_once_and_two_devices_that_fetch_it_have_the_same() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let site = Site::new().await;
    site.set("200 OK\r\nETag: \"1\"", &rss(&["one", "two"]));
    // Nothing inside the network unless it is asked for; and what goes wrong is told.
    let (id, is_new) = laptop.feed_add(&site.url, "", "Daily").unwrap();
    assert!(is_new && !laptop.feed_add(&site.url, "", "Daily").unwrap().1);
    let refused = laptop.feeds_fetch(&[], false, &mut |_| {}).await.unwrap();
    assert!(
        refused[0].problem.as_ref().unwrap().contains("inside the network") && site.asked.lock().unwrap().is_empty()
    );
    sync_each(&[&laptop, &phone]).await;
    for client in [&laptop, &phone] {
        let fetched = client.feeds_fetch(std::slice::from_ref(&id), true, &mut |_| {}).await.unwrap();
        assert_eq!((fetched[0].new, fetched[0].entries, &fetched[0].problem), (2, 2, &None));
    }
    sync_each(&[&laptop, &phone, &laptop]).await;
    assert_settled(&[&laptop, &phone]);
    let titles = |client: &Client| {
        let found = client.entities("article", &EntityQuery { order: Some("title".into()), ..EntityQuery::default() });
        found.unwrap().iter().map(|article| article.values["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((titles(&laptop), titles(&phone)), (vec!["one".into(), "two".into()], vec!["one".into(), "two".into()]));
    assert_eq!(laptop.feeds().unwrap()[0].title, "News");

    // The server is asked for what is new only, and what somebody threw away does not come back.
    site.set("304 Not Modified", "");
    assert!(laptop.feeds_fetch(&[], true, &mut |_| {}).await.unwrap()[0].unchanged);
    assert!(site.asked.lock().unwrap().last().unwrap().contains("If-None-Match: \"1\""));
    let one = laptop
        .entities("article", &EntityQuery { order: Some("title".into()), ..EntityQuery::default() })
        .unwrap()
        .remove(0);
    laptop.entity_trash(&one.id, true).unwrap();
    site.set("200 OK", &rss(&["one", "two", "three"]));
    assert_eq!(laptop.feeds_fetch(&[], true, &mut |_| {}).await.unwrap()[0].new, 1);
    assert_eq!(titles(&laptop), ["three", "two"]);
    site.set("200 OK", "<html>no feed</html>");
    let fetched = laptop.feeds_fetch(&[], true, &mut |_| {}).await.unwrap();
    assert!(fetched[0].problem.as_ref().unwrap().contains("no feed"));
    assert!(laptop.feeds().unwrap()[0].problem.is_some());

    // A page names its feed; an outline carries all of them.
    let page = format!("<link rel=alternate type='application/rss+xml' href='{}'>", site.url);
    site.set("200 OK", &page);
    assert_eq!(laptop.feed_discover(&site.url, true).await.unwrap(), id);
    let outline = laptop.feeds_export().unwrap();
    let dir = TempDir::new().unwrap();
    let other = home(&dir);
    let bad = outline.replace("</body>", "<outline text='x' xmlUrl='file:///etc/passwd'/></body>");
    assert_eq!(other.feeds_import(bad.as_bytes()).unwrap(), (1, 1));
    let feed = other.feeds().unwrap().remove(0);
    assert_eq!((feed.url.as_str(), feed.title.as_str(), feed.folder.as_str()), (site.url.as_str(), "News", "Daily"));
    assert_eq!(other.feeds_export().unwrap(), outline);
    laptop.feed_remove(&id).unwrap();
    assert!(laptop.feeds().unwrap().is_empty() && !titles(&laptop).is_empty());
}
