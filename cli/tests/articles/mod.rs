//! `lifeos article` and `lifeos feed`.

use std::net::TcpListener;

use serde_json::json;

use super::*;

const PAGE: &str = "<html><head><title>The sea</title></head><body><article><p>It was the best of times, it was the worst of times,\
                    as somebody wrote.</p></article></body></html>";
const FEED: &str = "<rss><channel><title>News</title><item><title>One</title><link>https://example.org/one</link></item></channel></rss>";

#[test]
fn an_article_is_saved_from_a_file_read_highlighted_and_archived() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let file = desk.path("sea.html");
    std::fs::write(&file, PAGE).unwrap();
    let saved =
        desk.json("laptop", &["article", "save", "https://example.org/sea?fbclid=1", "--file", file.to_str().unwrap()]);
    assert_eq!((&saved["url"], &saved["is_new"]), (&json!("https://example.org/sea"), &json!(true)));
    let id = saved["id"].as_str().unwrap();
    let marked = desk.json("laptop", &["article", "highlight", id, "the worst of times", "--note", "how true"]);
    let shown = desk.json("laptop", &["article", "show", id]);
    assert_eq!(
        (&shown["highlights"][0]["id"], &shown["highlights"][0]["found"]),
        (&marked["highlight"], &json!("the worst of times"))
    );
    let markdown = text(&desk.run("laptop", &["article", "show", id, "--markdown"]).stdout);
    assert!(markdown.contains("> the worst of times\n\nhow true\n"), "{markdown}");
    assert_eq!(desk.json("laptop", &["article", "read", id, "40"])["progress"], 400);
    assert_eq!(desk.json("laptop", &["article", "list", "--state", "reading"])["articles"][0]["id"], id);
    assert_eq!(desk.json("laptop", &["search", "somebody"])["hits"][0]["title"], "The sea");
    desk.json("laptop", &["article", "unhighlight", id, marked["highlight"].as_str().unwrap()]);
    assert_eq!(desk.json("laptop", &["article", "show", id])["highlights"], json!([]));
    desk.json("laptop", &["article", "archive", id]);
    assert_eq!(desk.json("laptop", &["article", "list"])["articles"], json!([]));
    let refused = |args: &[&str]| failure(&desk.run("laptop", &[args, &["--json"]].concat()));
    assert!(refused(&["article", "highlight", id, "not there"]).1.contains("does not say this"));
    assert!(refused(&["article", "save", "http://127.0.0.1:9/x"]).1.contains("--allow-private"));
    assert!(refused(&["article", "save", "file:///etc/passwd"]).1.contains("no address of the web"));
}

#[test]
fn feeds_are_subscribed_fetched_listed_and_carried_in_an_outline() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/feed", listener.local_addr().unwrap().port());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{FEED}", FEED.len()).unwrap();
    });
    let id = desk.json("laptop", &["feed", "add", &url, "--folder", "Daily"])["id"].as_str().unwrap().to_owned();
    let failed = desk.run("laptop", &["feed", "fetch", "--json"]);
    assert_eq!(failed.status.code(), Some(1), "a feed that could not be fetched is no success");
    let fetched = desk.json("laptop", &["feed", "fetch", "--allow-private"]);
    serving.join().unwrap();
    assert_eq!((&fetched["feeds"][0]["new"], &fetched["feeds"][0]["problem"]), (&json!(1), &json!(null)));
    assert_eq!(desk.json("laptop", &["feed", "list"])["feeds"][0]["title"], "News");
    assert_eq!(desk.json("laptop", &["article", "list"])["articles"][0]["values"]["title"], "One");
    let outline = desk.json("laptop", &["feed", "export"])["opml"].as_str().unwrap().to_owned();
    let file = desk.path("feeds.opml");
    std::fs::write(&file, outline).unwrap();
    desk.init("tablet", None);
    assert_eq!(desk.json("tablet", &["feed", "import", file.to_str().unwrap()]), json!({"new": 1, "refused": 0}));
    desk.json("laptop", &["feed", "remove", &id]);
    assert_eq!(desk.json("laptop", &["feed", "list"])["feeds"], json!([]));
}
