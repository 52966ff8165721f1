//! Two languages, side by side at the place that speaks: neither can be forgotten.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    Zh,
    En,
}

/// The same sentence in both languages; in files `{ zh = "…", en = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub zh: String,
    pub en: String,
}

impl Text {
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { zh: zh.into(), en: en.into() }
    }

    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::Zh => &self.zh,
            Lang::En => &self.en,
        }
    }
}

/// `say!(lang, "中文 {x}", "English {x}")`: a `String` in the reader's language.
#[macro_export]
macro_rules! say {
    ($lang:expr, $zh:literal, $en:literal $(,)?) => {
        match $lang {
            $crate::domain::Lang::Zh => format!($zh),
            $crate::domain::Lang::En => format!($en),
        }
    };
}

/// `text!("中文 {x}", "English {x}")`: both at once, for messages that travel before they are shown.
#[macro_export]
macro_rules! text {
    ($zh:literal, $en:literal $(,)?) => {
        $crate::domain::Text { zh: format!($zh), en: format!($en) }
    };
}
