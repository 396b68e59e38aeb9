//! Reads every Markdown file below the given folders, takes it apart and puts it together again.
//!
//! `cargo run --release --example roundtrip -- DIR…` prints files, bytes, blocks by kind and the share of blocks that
//! are kept verbatim; it fails when one file does not come back byte for byte. With `--hostile` it also times texts of
//! one MiB that are made to be slow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lifeos_client_core::modules::notes::markdown::{attr, links, parse, plain_text, render, tags};

#[derive(Default)]
struct Totals {
    files: u64,
    bytes: u64,
    different: u64,
    not_text: u64,
    blocks: u64,
    raw: u64,
    attrs: u64,
    marks: u64,
    links: u64,
    tags: u64,
    plain_bytes: u64,
    kinds: BTreeMap<String, u64>,
    parse_time: Duration,
}

fn main() -> ExitCode {
    let mut totals = Totals::default();
    for argument in std::env::args().skip(1) {
        if argument == "--hostile" {
            time_hostile_texts();
        } else {
            walk(argument.into(), &mut totals);
        }
    }
    print(&totals);
    if totals.different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn walk(folder: PathBuf, totals: &mut Totals) {
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|end| end == "md") {
                read(&entry.path(), totals);
            }
        }
    }
}

fn time_hostile_texts() {
    for unit in [
        "*[",
        "[",
        "*a _b ",
        "`a``b```",
        "[a](",
        "![[a",
        "> ",
        "- a\n ",
        "<a ",
        "a** ",
        "|a|\n|-|\n",
        "$$a\n",
        "\n",
        "x",
    ] {
        let text = unit.repeat(1_048_576 / unit.len());
        let start = Instant::now();
        let parsed = parse(&text);
        let parse_time = start.elapsed();
        let equal = render(&parsed) == text;
        println!("1 MiB of {unit:?}: parsed in {:.3} s, equal {equal}", parse_time.as_secs_f64());
    }
}

fn read(path: &Path, totals: &mut Totals) {
    let Some(text) = std::fs::read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
        totals.not_text += 1;
        return;
    };
    let start = Instant::now();
    let parsed = parse(&text);
    totals.parse_time += start.elapsed();
    totals.files += 1;
    totals.bytes += text.len() as u64;
    totals.links += links(&parsed.body).len() as u64;
    totals.tags += tags(&parsed).len() as u64;
    totals.plain_bytes += plain_text(&parsed.body).len() as u64;
    if render(&parsed) != text {
        totals.different += 1;
        println!("different: {}", path.display());
    }
    for block in &parsed.body.blocks {
        totals.blocks += 1;
        totals.attrs += block.attrs.len() as u64;
        totals.marks += block.spans.iter().map(|span| span.marks.len() as u64).sum::<u64>();
        let raw = block.attr(attr::RAW).is_some();
        totals.raw += u64::from(raw);
        if raw && std::env::var_os("SHOW_RAW").is_some() {
            println!("raw {} in {}: {:?}", block.kind.as_str(), path.display(), block.text());
        }
        *totals.kinds.entry(block.kind.as_str().to_owned()).or_default() += 1;
    }
}

#[allow(clippy::cast_precision_loss)]
fn print(totals: &Totals) {
    let per_block = |count: u64| count as f64 / totals.blocks.max(1) as f64;
    println!("files {} ({} not UTF-8, skipped), bytes {}", totals.files, totals.not_text, totals.bytes);
    println!("not byte-equal {}", totals.different);
    println!("blocks {}, verbatim {} ({:.3} %)", totals.blocks, totals.raw, 100.0 * per_block(totals.raw));
    println!("per block: {:.2} attributes, {:.2} marks", per_block(totals.attrs), per_block(totals.marks));
    println!("links {}, tags {}, plain text {} bytes", totals.links, totals.tags, totals.plain_bytes);
    println!("parsed in {:.3} s", totals.parse_time.as_secs_f64());
    println!("{:?}", totals.kinds);
}
