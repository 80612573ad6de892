//! Owns the rule that what `docs/SEMANTICS.md` promises of a clean-up and of what comes from outside, and what its tests
//! prove, is one and the same: each sentence is the documentation of a test, after the number of its rule, and each rule
//! is marked with the places of its tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::project::{assert_none, names_in, root, text};

/// Where a folder's tests are, by the marks of the document.
const PLACES: [(&str, &str); 5] = [
    ("crates/core/", "core"),
    ("crates/aws/", "wire"),
    ("tests/contract/", "contract"),
    ("tests/functions/", "function"),
    ("tests/simulation/", "simulation"),
];
/// Its functions are as good as tests: each is a rule that every trial of the simulation is held against.
const RULES: &str = "tests/simulation/src/rules.rs";

/// A rule of the document.
struct Rule {
    sentences: Vec<String>,
    marks: BTreeSet<String>,
}

/// What the documentation of a test says of a rule.
struct Said {
    /// File and function.
    test: String,
    place: String,
    number: u32,
    sentences: Vec<String>,
}

/// `44. One. Two.`: the number, and the rest.
fn numbered(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.split_once(". ")?;
    Some((number.parse().ok()?, rest))
}

fn sentences(text: &str) -> Vec<String> {
    text.split(". ").map(|sentence| format!("{}.", sentence.trim_end_matches('.'))).collect()
}

/// The paragraphs that begin with a number, each on one line. A number or an empty line begins another paragraph.
fn numbered_paragraphs<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = words.join(" ");
        match paragraphs.last_mut() {
            Some(last) if !line.is_empty() && numbered(&line).is_none() => *last = format!("{last} {line}"),
            _ => paragraphs.push(line),
        }
    }
    paragraphs.retain(|paragraph| numbered(paragraph).is_some());
    paragraphs
}

/// The rules of a part of the document.
fn rules(part: &str) -> BTreeMap<u32, Rule> {
    let read = |paragraph: &String| {
        let (number, rest) = numbered(paragraph)?;
        let (text, marks) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        Some((number, Rule { sentences: sentences(text), marks: marks.split(", ").map(str::to_owned).collect() }))
    };
    numbered_paragraphs(part.lines()).iter().filter_map(read).collect()
}

/// What the documentation of the tests in a file says of rules. Between the two stand attributes only, one of which
/// makes the function a test.
fn said(path: &str, source: &str) -> Vec<Said> {
    let place = PLACES.iter().find(|(folder, _)| path.starts_with(folder)).map_or(path, |(_, mark)| mark);
    let (mut found, mut docs, mut is_test) = (Vec::new(), Vec::new(), false);
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc);
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else {
            if let (true, Some(function)) = (is_test || is_rule(path, line, lines.clone()), function(line)) {
                found.extend(numbered_paragraphs(docs.iter().copied()).iter().filter_map(|paragraph| {
                    let (number, text) = numbered(paragraph)?;
                    let (test, place) = (format!("{path}: {function}"), place.to_owned());
                    Some(Said { test, place, number, sentences: sentences(text) })
                }));
            }
            (docs, is_test) = (Vec::new(), false);
        }
    }
    found
}

/// The name of the function that begins in a line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "async"];
    before.split_whitespace().all(|word| words.contains(&word)).then(|| after.split(['(', '<']).next())?
}

/// Whether a function, which begins in a line, is a rule of the simulation: it returns complaints.
fn is_rule<'a>(path: &str, line: &'a str, rest: impl Iterator<Item = &'a str>) -> bool {
    let mut signature = std::iter::once(line).chain(rest);
    path == RULES && signature.find(|line| line.ends_with('{')).is_some_and(|line| line.contains("-> Vec<String> {"))
}

/// What is not in both: `held` has to be said by tests, and what tests say has to be in `all`.
fn complaints(held: &BTreeMap<u32, Rule>, all: &BTreeMap<u32, Rule>, said: &[Said]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, rule) in held {
        let by: Vec<&Said> = said.iter().filter(|said| said.number == *number).collect();
        let missing = rule.sentences.iter().filter(|one| !by.iter().any(|said| said.sentences.contains(one)));
        complaints.extend(missing.map(|one| format!("rule {number}: no test's documentation says: {one}")));
        let places: BTreeSet<String> = by.iter().map(|said| said.place.clone()).collect();
        if places != rule.marks {
            complaints.push(format!("rule {number}: it is marked {:?}, and its tests are in {places:?}", rule.marks));
        }
    }
    for Said { test, number, sentences, .. } in said {
        let known = |one: &&String| all.get(number).is_some_and(|rule| rule.sentences.contains(one));
        let unknown = sentences.iter().filter(|one| !known(one));
        complaints.extend(unknown.map(|one| format!("rule {number}: it does not say what {test} says: {one}")));
    }
    complaints
}

/// Every Rust file below a folder.
fn sources(folder: &str) -> Vec<String> {
    let paths = names_in(folder).into_iter().map(|name| format!("{folder}/{name}"));
    let below = paths.flat_map(|path| if root().join(&path).is_dir() { sources(&path) } else { vec![path] });
    below.filter(|path| path.ends_with(".rs")).collect()
}

/// The parts of the document of which each sentence is the documentation of a test, and the numbers of their rules.
const PARTS: [(&str, std::ops::RangeInclusive<u32>); 4] = [
    ("\n## Clean-up\n", 44..=69),
    ("\n## Clean-up\n", 74..=77),
    ("\n## What comes from outside\n", 70..=73),
    ("\n## Deployment and rights\n", 85..=88),
];

#[test]
fn every_sentence_of_these_parts_is_the_documentation_of_a_test() {
    let document = text("docs/SEMANTICS.md");
    let mut held = BTreeMap::new();
    for (heading, numbers) in PARTS {
        let (_, part) = document.split_once(heading).expect("the part");
        held.extend(rules(part.split("\n## ").next().unwrap_or_default()));
        let missing: Vec<u32> = numbers.filter(|number| !held.contains_key(number)).collect();
        assert!(missing.is_empty(), "{heading}: {missing:?}");
    }
    let files = ["crates", "tests"].into_iter().flat_map(sources);
    let said: Vec<Said> = files.flat_map(|path| said(&path, &text(&path))).collect();
    assert_none(complaints(&held, &rules(&document), &said));
}

#[test]
fn a_sentence_that_only_one_of_the_two_says_is_noticed() {
    let held = rules("Some.\n\n1. One holds\n    always. Two holds. (core)\n2. Three holds. (core, function)\n");
    let found = |path: &str, lines: &[&str]| complaints(&held, &held, &said(path, &lines.join("\n")));
    let two = ["/// 2. Three holds.", "#[tokio::test]", "async fn b() {}"];
    let mut all = ["/// 1. One", "///     holds always. Two holds.", "///", "/// More.", "#[test]", "fn a() {"];
    let unmarked = r#"rule 2: it is marked {"core", "function"}, and its tests are in {"core"}"#;
    assert_eq!(found("crates/core/a.rs", &[&all[..], &two].concat()), [unmarked]);
    all[1] = "///     holds always. Four holds.";
    let other = ["rule 1: no test's documentation says: Two holds.", unmarked];
    let stale = "rule 1: it does not say what crates/core/a.rs: a says: Four holds.";
    assert_eq!(found("crates/core/a.rs", &[&all[..], &two].concat()), [&other[..], &[stale]].concat());
    // What stands on no test says nothing.
    for lines in [&["/// 2. Three holds.", "fn b() {}"][..], &["/// 2. Three holds.", "", "#[test]", "fn b() {}"]] {
        assert!(said("tests/functions/a.rs", &lines.join("\n")).is_empty(), "{lines:?}");
    }
    let rule = |result: &str| said(RULES, &format!("/// 2. Three holds.\npub fn b(\n    c: &C,\n) -> {result} {{\n}}"));
    assert_eq!((rule("Vec<String>").len(), rule("usize").len()), (1, 0));
}
