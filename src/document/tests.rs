//! Facts about documents: what is wrong, and where it is said to be.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use serde::Deserialize;

use super::*;
use crate::domain::{Lang, Period, Priority};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is looked at")]
struct Garden {
    name: String,
    #[serde(default)]
    bed: Vec<Bed>,
    watering: Option<Watering>,
    labels: Option<BTreeMap<String, String>>,
    free: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is looked at")]
struct Bed {
    id: String,
    priority: Priority,
    every: Option<Period>,
    depth: u8,
    #[serde(default)]
    width: f64,
    #[serde(default)]
    priorities: Vec<Priority>,
    size: Option<Sized>,
}

/// Told by its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is looked at")]
enum Sized {
    Square { side: u16 },
    Round { radius: u16 },
    Wild,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is looked at")]
struct Watering {
    on: bool,
}

fn source(text: &str) -> Arc<Source> {
    Arc::new(Source { path: PathBuf::from("garden.toml"), text: text.to_owned() })
}

/// `line:the words there: message [help]`, one a line.
fn told(text: &str) -> String {
    let mut problems = Problems::default();
    if let Some(document) = Document::parse(source(text), &mut problems) {
        document.read::<Garden>(&mut problems);
    }
    let mut told = String::new();
    for problem in problems.sorted() {
        let place = problem.place.as_ref().expect("all have places here");
        let line = text[..place.span.start].matches('\n').count() + 1;
        let words = &text[place.span.clone()];
        let help = problem.help.as_ref().map(|help| format!(" [{}]", help.en)).unwrap_or_default();
        writeln!(told, "{line}:{words}: {}{help}", problem.message.en).unwrap();
    }
    told
}

#[test]
fn every_mistake_is_told_at_its_own_place() {
    for (fact, text, expected) in [
        ("nothing wrong", "name = 'a'\nfree = { a = 1, b = ['x'] }\n", ""),
        (
            "an unknown key in place of a required one",
            "nmae = 5\n",
            "1:nmae: unknown key \"nmae\" [did you mean \"name\"? legal here: \"bed\", \"free\", \"labels\", \"name\", \"watering\"]\n",
        ),
        (
            "an unknown key",
            "name = 'a'\nnmae = 'b'\n",
            "2:nmae: unknown key \"nmae\" [did you mean \"name\"? legal here: \"bed\", \"free\", \"labels\", \"name\", \"watering\"]\n",
        ),
        ("a missing key", "", "1:: \"name\" is missing\n"),
        ("a wrong kind", "name = 5\n", "1:5: \"name\" must be text, not an integer\n"),
        (
            "a wrong kind in a map",
            "name = 'a'\n[labels]\na = true\n",
            "3:true: \"a\" must be text, not true/false\n",
        ),
        (
            "missing keys at the header of their table",
            "name = 'a'\n[[bed]]\nid = 'x'\n[[bed]]\nid='y'\ndepth=1\n",
            "2:[[bed]]: \"priority\", \"depth\" is missing\n4:[[bed]]: \"priority\" is missing\n",
        ),
        (
            "everything wrong with a bed",
            "name='a'\n[[bed]]\nid='x'\npriority='critcal'\nevery='5min'\ndepth=256\nwidth='w'\npriorities=['low','hi']\nsize={squre={side=1}}\n",
            "4:'critcal': \"priority\" cannot be \"critcal\" [did you mean \"critical\"? legal here: \"critical\", \"high\", \"medium\", \"low\"]\n\
             5:'5min': \"every\" is not written as it should be: \"5min\" [such as \"500ms\", \"30s\", \"5m\", \"2h\", \"90d\"]\n\
             6:256: \"depth\" must be from 0 to 255, not 256\n\
             7:'w': \"width\" must be a number, not text\n\
             8:'hi': \"priorities\" cannot be \"hi\" [did you mean \"high\"? legal here: \"critical\", \"high\", \"medium\", \"low\"]\n\
             9:squre: unknown key \"squre\" [did you mean \"square\"? legal here: \"square\", \"round\"]\n",
        ),
        (
            "a duration nobody lives to see, and what else is wrong",
            "name='a'\n[[bed]]\nid='x'\npriority='low'\nevery='999999999999d'\ndepth=256\n",
            "5:'999999999999d': \"every\" is too much: \"999999999999d\", where \"36500d\" is the most [such as \"500ms\", \"30s\", \"5m\", \"2h\", \"90d\"]\n\
             6:256: \"depth\" must be from 0 to 255, not 256\n",
        ),
        (
            "an integer where a decimal may be",
            "name='a'\n[[bed]]\nid='x'\npriority='low'\ndepth=1\nwidth=3\nsize='wild'\n",
            "",
        ),
        (
            "a tagged table",
            "name='a'\n[[bed]]\nid='x'\npriority='low'\ndepth=1\nsize={round={radius=70000}}\n",
            "6:70000: \"radius\" must be from 0 to 65535, not 70000\n",
        ),
        (
            "a wrong word where a table could be",
            "name='a'\n[[bed]]\nid='x'\npriority='low'\ndepth=1\nsize='wlid'\n",
            "6:'wlid': \"size\" cannot be \"wlid\" [the legal word is \"wild\"]\n",
        ),
        (
            "an optional table",
            "name='a'\nwatering={on=1}\n",
            "2:1: \"on\" must be true or false, not an integer\n",
        ),
    ] {
        assert_eq!(told(text), expected, "{fact}");
    }
}

fn problems_of(text: &str) -> Problems {
    let mut problems = Problems::default();
    if let Some(document) = Document::parse(source(text), &mut problems) {
        document.read::<Garden>(&mut problems);
    }
    problems
}

#[test]
fn a_mistake_is_drawn_under_its_line_with_chinese_before_it() {
    let problems = problems_of("name = '花园' # 名\nlabels = { 名字 = '一', b = 3 }\n");
    assert_eq!(problems.lines(Lang::En), "garden.toml:2:12: error: TOML syntax: invalid unquoted key\n");
    let problems = problems_of("name = '花园' # 名\nlabels = { '名字' = '一', b = 3 }\n");
    // three letters before the caret are two columns wide
    let drawn = [
        "错误: \"b\" 应为文本，这里是整数",
        " --> garden.toml:2:28",
        "  |",
        "2 | labels = { '名字' = '一', b = 3 }",
        "  |                               ^",
        "",
        "",
    ];
    assert_eq!(problems.drawn(Lang::Zh, false), drawn.join("\n"));
}

#[test]
fn what_the_shape_does_not_foresee_is_placed_all_the_same() {
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Gate {
        #[serde(deserialize_with = "odd")]
        number: u8,
    }
    fn odd<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
        let number = u8::deserialize(from)?;
        (number % 2 == 1).then_some(number).ok_or(serde::de::Error::custom("even"))
    }
    let read = |text| {
        let mut problems = Problems::default();
        let document = Document::parse(source(text), &mut problems).unwrap();
        let gate = document.read::<Gate>(&mut problems).map(|gate| gate.number);
        (gate, problems.lines(Lang::En))
    };
    assert_eq!(read("number = 3"), (Some(3), String::new()));
    assert_eq!(read("\nnumber = 4"), (None, "garden.toml:2:10: error: cannot be read: even\n".to_owned()));
}

#[test]
fn places_are_those_of_values_and_keys_or_of_the_nearest_parent() {
    let text = "name = 'a'\n[[bed]]\nid = 'x'\npriorities = ['low', 'high']\n[watering]\non = true\n";
    let document = Document::parse(source(text), &mut Problems::default()).unwrap();
    for (fact, path, value, key) in [
        ("a value", at!["name"] as &[Step<'_>], "'a'", "name"),
        ("an item", at!["bed", 0, "priorities", 1], "'high'", "'high'"),
        ("a value in a list of tables", at!["bed", 0, "id"], "'x'", "id"),
        ("a table", at!["watering"], "[watering]", "watering"),
        ("a table of a list", at!["bed", 0], "[[bed]]", "[[bed]]"),
        ("a key that is not there", at!["bed", 0, "depth"], "[[bed]]", "[[bed]]"),
        ("an item that is not there", at!["bed", 0, "priorities", 7], "['low', 'high']", "['low', 'high']"),
        ("a step into a text", at!["name", "first"], "'a'", "'a'"),
        ("nothing", at!["nothing", 1, "at all"], "", ""),
    ] {
        assert_eq!(&text[document.place(path).span], value, "{fact}");
        assert_eq!(&text[document.key_place(path).span], key, "{fact}");
        assert_eq!(
            document.has(path),
            !value.is_empty() && !fact.contains("not there") && !fact.contains("into"),
            "{fact}"
        );
    }
}
