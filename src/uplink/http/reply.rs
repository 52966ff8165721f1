//! What a reply means for the letter and for the endpoint. Pure.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

use super::accept::{Accept, Finding, Judged};
use crate::{
    domain::{Hindrance, HindranceKind, Text},
    text,
    uplink::{Refusal, Verdict},
};

/// When a person has to mend something: often enough to be there a minute after it is mended.
pub const UNTIL_MENDED: Duration = Duration::from_secs(30);
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15 * 60));
/// How much of a reply is kept as the receipt.
const RECEIPT_BODY: usize = 1024;

/// A reply as far as it was read.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// The `retry-after` header as it came.
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
    /// Whether `body` is all that was sent.
    pub whole: bool,
}

impl Reply {
    /// `now`: the wall clock, for a Retry-After that names a date.
    pub fn verdict(&self, accept: &Accept, now: Timestamp) -> Verdict {
        let judged = Judged { status: self.status, body: &self.body, whole: self.whole };
        let (status, said) = (self.status, self.said());
        let no_receipt =
            |told| Verdict::TryAgain { why: Hindrance::new(HindranceKind::NoReceipt, told), after: None };
        match accept.judge(judged) {
            Finding::Accepted => Verdict::Accepted { status, said },
            Finding::StatusNotListed => self.by_status(now),
            // a clear no to this letter; others may well be taken
            Finding::BodySaysNo => {
                let told = text!(
                    "应答 {status}，但内容表示未收：{said}",
                    "answered {status}, but its body says no: {said}"
                );
                let why = Hindrance::new(HindranceKind::LetterRefused, told);
                Verdict::Refused { why, how: Refusal::Unwanted }
            }
            // a portal, a proxy, a broken server: nothing it says is about this letter
            Finding::BodyUnreadable(flaw) => {
                let Text { zh, en } = flaw.words();
                no_receipt(text!(
                    "应答 {status}，但内容{zh}：{said}",
                    "answered {status}, but the reply {en}: {said}"
                ))
            }
            Finding::WebPage => no_receipt(text!(
                "应答 {status}，但回来的是网页（上网登录页？）：{said}",
                "answered {status}, but a web page answered: a login portal? {said}"
            )),
        }
    }

    fn by_status(&self, now: Timestamp) -> Verdict {
        use HindranceKind as Kind;
        let (status, said) = (self.status, self.said());
        let kind = match status {
            400 | 413 | 422 => {
                let told = text!("应答 {status}：{said}", "answered {status}: {said}");
                let why = Hindrance::new(Kind::LetterRefused, told);
                return Verdict::Refused { why, how: Refusal::Unreadable };
            }
            408 | 425 | 429 | 500..=599 => {
                let told = text!("应答 {status}：{said}", "answered {status}: {said}");
                let after = self.retry_after.as_deref().and_then(|text| retry_after(text, now));
                return Verdict::TryAgain { why: Hindrance::new(Kind::Busy, told), after };
            }
            300..=399 => Kind::Redirected,
            401 => Kind::Unauthorised,
            403 => Kind::Forbidden,
            404 => Kind::NoSuchPlace,
            410 => Kind::Gone,
            _ => Kind::Unexpected,
        };
        Verdict::TryAgain { why: Hindrance::new(kind, told_status(status, kind)), after: Some(UNTIL_MENDED) }
    }

    /// The head of the body as one line of text, at most 1 KiB.
    fn said(&self) -> String {
        let head = &self.body[..self.body.len().min(RECEIPT_BODY)];
        let text = String::from_utf8_lossy(head);
        let mut said: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // a replaced byte takes three: the promise is 1 KiB of text
        said.truncate(said.floor_char_boundary(RECEIPT_BODY));
        said
    }
}

/// A status by which a person has to mend something.
fn told_status(status: u16, kind: HindranceKind) -> Text {
    match kind {
        HindranceKind::Redirected => text!(
            "应答 {status}：重定向，网关从不跟随；url 要写接收方本身的地址",
            "answered {status}: a redirect, which is never followed; the url must name the receiver itself"
        ),
        HindranceKind::Unexpected => {
            text!(
                "应答 {status}：不是约定的成功状态",
                "answered {status}: not a status that means success here"
            )
        }
        kind => {
            let Text { zh, en } = kind.title();
            text!("应答 {status}：{zh}", "answered {status}: {en}")
        }
    }
}

/// Seconds or an HTTP date, clamped to 1 s – 15 min; `None` if it is neither.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let (least, most) = RETRY_AFTER;
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let seconds = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        text.parse::<i64>().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })
    } else {
        rfc2822::parse(text).ok()?.timestamp().as_second().saturating_sub(now.as_second())
    };
    Some(Duration::from_secs(seconds.max(0).unsigned_abs()).clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::http::config::AcceptSettings;

    fn answered(status: u16, body: &[u8]) -> Reply {
        Reply { status, retry_after: None, body: body.to_vec(), whole: true }
    }

    fn verdict(reply: &Reply) -> Verdict {
        let now = "2026-11-23T06:00:00Z".parse().unwrap();
        let accept = AcceptSettings { status: vec![], body: Some("ok".to_owned()) };
        reply.verdict(&accept.compile().unwrap(), now)
    }

    #[test]
    fn each_status_has_its_own_consequence() {
        #[derive(Debug, PartialEq)]
        enum Consequence {
            Backoff,
            UntilMended,
            LetterOnly,
        }
        use Consequence::*;
        let facts = [
            (301, UntilMended),
            (307, UntilMended),
            (400, LetterOnly),
            (401, UntilMended),
            (403, UntilMended),
            (404, UntilMended),
            (405, UntilMended),
            (408, Backoff),
            (409, UntilMended),
            (410, UntilMended),
            (413, LetterOnly),
            (422, LetterOnly),
            (429, Backoff),
            (500, Backoff),
            (503, Backoff),
            (700, UntilMended),
        ];
        for (status, expected) in facts {
            let consequence = match verdict(&answered(status, b"")) {
                Verdict::TryAgain { after: None, .. } => Backoff,
                Verdict::TryAgain { after: Some(UNTIL_MENDED), .. } => UntilMended,
                Verdict::Refused { .. } => LetterOnly,
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(consequence, expected, "{status}");
        }
    }

    #[test]
    fn a_good_status_with_a_failure_in_the_body_is_no_receipt() {
        let reply = |body| verdict(&answered(200, body));
        let accepted = Verdict::Accepted { status: 200, said: r#"{"ok":true}"#.to_owned() };
        assert_eq!(reply(br#"{"ok":true}"#), accepted);
        assert!(matches!(reply(br#"{"ok":false}"#), Verdict::Refused { .. }));
        assert!(matches!(reply(b"<html>log in</html>"), Verdict::TryAgain { after: None, .. }));
        assert!(matches!(reply(b""), Verdict::TryAgain { after: None, .. }));
    }

    #[test]
    fn the_receipt_is_short_plain_text() {
        let accept = AcceptSettings::default().compile().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for body in [vec![0xff; 5000], "长".repeat(2000).into_bytes(), b"a\r\n\x1b[31mb".to_vec(), vec![]] {
            let Verdict::Accepted { status: 201, said } = answered(201, &body).verdict(&accept, now) else {
                panic!("a 201 is accepted");
            };
            assert!(said.len() <= 1024 && !said.contains(char::is_control), "{said}");
        }
    }

    #[test]
    fn retry_after_is_clamped() {
        let now = "2026-11-23T06:00:00Z".parse().unwrap();
        let facts = [
            ("0", Some(1)),
            ("-1", Some(1)),
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("1000000000", Some(900)),
            ("99999999999999999999999", Some(900)),
            ("-99999999999999999999999", Some(1)),
            ("Mon, 23 Nov 2026 06:02:00 GMT", Some(120)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(1)),
            ("Sun, 07 Feb 2106 06:28:15 GMT", Some(900)),
            ("1e9", None),
            ("soon", None),
            ("", None),
            ("-", None),
        ];
        for (text, seconds) in facts {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
