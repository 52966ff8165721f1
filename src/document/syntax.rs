//! TOML's own complaints, in both languages.

use toml::de::Error;

use crate::domain::Text;

/// The beginnings of the parser's sentences that people meet, in Chinese.
const KNOWN: [(&str, &str); 15] = [
    ("duplicate key", "键重复"),
    ("missing assignment", "键后面缺少等号"),
    ("missing value", "等号后面缺少值"),
    ("key with no value", "键没有值"),
    ("string values must be quoted", "文本要用引号括起来"),
    ("invalid basic string", "双引号文本没有正确结束"),
    ("invalid literal string", "单引号文本没有正确结束"),
    ("unclosed", "括号没有闭合"),
    ("missing opening quote", "缺少起始引号"),
    ("missing comma", "缺少逗号"),
    ("extra comma", "多了一个逗号"),
    ("invalid unquoted key", "键里有不允许的字符"),
    ("unexpected leading zero", "数字不能以 0 开头"),
    ("`_` may only", "下划线只能在数字之间"),
    ("cannot recurse", "嵌套太深"),
];

/// The parser's sentence, with its Chinese before it where we have one.
pub(super) fn sentence(message: &str) -> Text {
    // what else the parser would have taken helps only where its sentence is not plain
    let plain = |message| KNOWN.iter().any(|(beginning, _)| str::starts_with(message, beginning));
    let message = match message.split_once(", expected ") {
        Some((what, expected)) if expected == "nothing" || plain(what) => what,
        Some(_) | None => message,
    };
    let known = KNOWN.iter().find(|(beginning, _)| message.starts_with(beginning));
    let zh = match known {
        Some((_, zh)) => format!("TOML 语法错误：{zh}（{message}）"),
        None => format!("TOML 语法错误：{message}"),
    };
    Text::new(zh, format!("TOML syntax: {message}"))
}

/// True if what the parser complains of stays within its line, so that the rest of the file can still be judged.
pub(super) fn stays_in_line(message: &str) -> bool {
    const SLIPS: [&str; 8] = [
        "duplicate key",
        "string values must be quoted",
        "missing value for key",
        "invalid basic string",
        "invalid literal string",
        "unexpected leading zero",
        "`_` may only go between digits",
        "radix must be lowercase",
    ];
    SLIPS.iter().any(|slip| message.starts_with(slip))
}

/// In the order of the file, up to the first that does not stay in its line: what the parser meets behind
/// that is mostly its own confusion. What was left open is told wherever that was noticed.
pub(super) fn without_aftermath(mut errors: Vec<Error>) -> Vec<Error> {
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut lost = false;
    errors.retain(|error| {
        let keep = !lost || error.message().starts_with("unclosed");
        lost |= !stays_in_line(error.message());
        keep
    });
    errors
}
