//! What a path reads, and what it costs.

use super::*;
use crate::sources::http::json;

const DOCUMENT: &str = r#"{
    "queues": [
        {"name": "a", "waiting": 3, "state": "open", "jobs": [1, 2], "on": true},
        {"name": "b", "waiting": 4, "state": "it's", "jobs": [], "on": false},
        {"name": "c", "waiting": 50, "jobs": [7], "on": null}
    ],
    "by-name": {"x": {"waiting": 100}, "y": {"waiting": 200}},
    "length": 6,
    "größe": 7
}"#;

#[test]
fn every_way_to_numbers_that_is_written_down_leads_there() {
    for (path, numbers) in [
        ("$.length", vec![6.0]),
        ("$['length']", vec![6.0]),
        ("$[\"by-name\"].x.waiting", vec![100.0]),
        ("$.größe", vec![7.0]),
        ("$.queues[0].waiting", vec![3.0]),
        ("$.queues[-1].waiting", vec![50.0]),
        ("$.queues[9].waiting", vec![]),
        ("$.queues[*].waiting", vec![3.0, 4.0, 50.0]),
        ("$.queues.*.waiting", vec![3.0, 4.0, 50.0]),
        ("$['by-name'][*]['waiting']", vec![100.0, 200.0]),
        ("$['by-name']['y', 'x'].waiting", vec![200.0, 100.0]),
        ("$.queues[ 0 , 1 ].waiting", vec![3.0, 4.0]),
        ("$.queues.length", vec![3.0]),
        ("$.queues[*].jobs.length", vec![2.0, 0.0, 1.0]),
        ("$..length", vec![6.0]),
        ("$..waiting", vec![100.0, 200.0, 3.0, 4.0, 50.0]),
        ("$.queues..jobs[0]", vec![1.0, 7.0]),
        ("$.queues[?@.name == 'b'].waiting", vec![4.0]),
        ("$.queues[?(@.name=='b')].waiting", vec![4.0]),
        ("$.queues[?@['name'] != \"b\"].waiting", vec![3.0, 50.0]),
        ("$.queues[?@.state == 'it\\'s'].waiting", vec![4.0]),
        ("$.queues[?@.state].waiting", vec![3.0, 4.0]),
        ("$.queues[?@.state != 'open'].waiting", vec![4.0, 50.0]),
        ("$.queues[?@.waiting >= 4 && @.waiting < 5e1].waiting", vec![4.0]),
        ("$.queues[?@.waiting <= 4].waiting", vec![3.0, 4.0]),
        ("$.queues[?@.waiting > '4'].waiting", vec![]),
        ("$.queues[?@.name > 'a'].waiting", vec![4.0, 50.0]),
        ("$.queues[?@.on == true].waiting", vec![3.0]),
        ("$.queues[?@.on == null].waiting", vec![50.0]),
        ("$.queues[?@.jobs[0] == 7].waiting", vec![50.0]),
        ("$..[?@.waiting > 50].waiting", vec![100.0, 200.0]),
        ("$.none[*].waiting", vec![]),
    ] {
        let mut found = numbers_of(&path.parse().unwrap(), DOCUMENT).unwrap();
        let mut numbers = numbers;
        found.sort_by(f64::total_cmp);
        numbers.sort_by(f64::total_cmp);
        assert_eq!(found, numbers, "{path}");
    }
}

#[test]
fn a_path_that_is_not_one_is_refused_with_what_there_is() {
    for (text, problem) in [
        ("", "at its end: `$` is wanted"),
        ("waiting", "at `waiting`: `$` is wanted"),
        ("$.waiting[", "at its end: a quoted name, an index or `*` is wanted"),
        ("$.a-b", "at `-b`: that is not known"),
        ("$.", "at its end: a name is wanted; with other characters it is written as `['name']`"),
        ("$..a..b", "`..` more than once makes work that grows faster than the document"),
        ("$[0,0]", "one name or index is there twice, and would be counted twice"),
        ("$[1:2]", "a part of a list cannot be taken: `[*]` is all of it"),
        ("$[:2]", "at `:2]`: a quoted name, an index or `*` is wanted"),
        ("$[?@.a || @.b]", "at `|| @.b]`: `]` is wanted"),
        ("$[?@.a == @.b]", "at `@.b]`: a quoted text, a number, `true`, `false` or `null` is wanted"),
        ("$[?@.a == NaN]", "at `NaN]`: a quoted text, a number, `true`, `false` or `null` is wanted"),
        ("$[?@..a]", "at `..a]`: `]` is wanted"),
        ("$[?@[?@.a]]", "at `?@.a]]`: a quoted name, an index or `*` is wanted"),
        ("$[?$.a]", "at `$.a]`: `@` is wanted"),
        ("$[?count(@.a) > 1]", "at `count(@.a) >`: `@` is wanted"),
        ("$['a", "at `'a`: a quotation mark is not closed"),
        ("count($.a)", "at `count($.a)`: `$` is wanted"),
        ("length($.a", "at its end: `)` is wanted"),
        ("$.a + ", "at its end: `$` is wanted"),
    ] {
        let error = text.parse::<Sum>().unwrap_err();
        assert_eq!(error.strip_suffix(HINT), Some(problem), "{error}");
    }
    assert!("$.a + $.b".parse::<Path>().is_err());
    assert!(format!("${}", ".a".repeat(250)).parse::<Path>().is_err());
    assert!(vec!["$.a"; 17].join("+").parse::<Sum>().is_err());
}

const HINT: &str = "; there are names, `['names']`, indices, `[*]`, one `..`, filters such as `[?@.state == 'waiting' && \
                    @.priority > 3]`, `length($.jobs)`, and sums of these";

#[test]
fn a_sum_names_its_paths_and_what_it_counts() {
    let sum: Sum = "$.a.b + length( $['c'] )+$..d".parse().unwrap();
    let terms: Vec<(String, bool)> =
        sum.terms.iter().map(|term| (term.path.to_string(), term.counts)).collect();
    let of = |path: &str, counts| (path.to_owned(), counts);
    assert_eq!(terms, [of("$.a.b", false), of("$['c']", true), of("$..d", false)]);
    assert_eq!(sum.to_string(), "$.a.b + length( $['c'] )+$..d");
}

#[test]
fn no_path_looks_at_more_than_its_budget_whatever_the_document() {
    let deep = format!("{}0{}", "[".repeat(120), "]".repeat(120));
    let wide = format!("[{}0]", "0,".repeat(100_000));
    let twins = format!("{}0{}", "[".repeat(100), "]".repeat(100));
    for (path, document) in [
        ("$[*]".to_owned(), wide.as_str()),
        ("$[?@ > 0]".to_owned(), &wide),
        ("$..a".to_owned(), &wide),
        (format!("${}", "[0,-1]".repeat(80)), &twins),
        (format!("$..{}", "[0,-1]".repeat(80)), &twins),
    ] {
        let path: Path = path.parse().unwrap();
        assert_eq!(numbers_of(&path, document), Err(Exhausted), "{path}");
    }
    let path: Path = format!("$..*{}", "[*]".repeat(100)).parse().unwrap();
    assert!(numbers_of(&path, &deep).is_ok());
}

#[test]
fn all_triggers_of_a_document_share_a_budget() {
    let document = format!("[{}0]", "0,".repeat(40_000));
    let tree = json::parse(document.as_bytes()).unwrap();
    let (path, mut budget): (Path, _) = ("$[*]".parse().unwrap(), Budget::default());
    let visits = (0..100).filter(|_| path.visit(&tree, budget.next(), &mut |_| ()).is_ok());
    assert_eq!(visits.count(), 49);
}

fn numbers_of(path: &Path, document: &str) -> Result<Vec<f64>, Exhausted> {
    let tree = json::parse(document.as_bytes()).unwrap();
    let mut numbers = Vec::new();
    path.visit(&tree, &mut Budget::default(), &mut |found| match found {
        Found::Value(Node::Number(number)) => numbers.push(*number),
        Found::Length(elements) => numbers.push(f64::from(u32::try_from(elements).unwrap())),
        Found::Value(_) => {}
    })?;
    Ok(numbers)
}
