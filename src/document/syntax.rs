//! TOML's own complaints, in both languages.

use crate::domain::Text;

/// The beginnings of the parser's sentences that people meet, in Chinese.
const KNOWN: [(&str, &str); 14] = [
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
    ("cannot recurse", "嵌套太深"),
];

/// The parser's sentence, with its Chinese before it where we have one.
pub(super) fn sentence(message: &str) -> Text {
    let known = KNOWN.iter().find(|(beginning, _)| message.starts_with(beginning));
    let zh = match known {
        Some((_, zh)) => format!("TOML 语法错误：{zh}（{message}）"),
        None => format!("TOML 语法错误：{message}"),
    };
    Text::new(zh, format!("TOML syntax: {message}"))
}
