//! What keeps letters from an endpoint: each kind a state of its own, in words, with what a person can do about it.

use serde::{Deserialize, Serialize};

use super::Text;
use crate::text;

/// Why a letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hindrance {
    pub kind: HindranceKind,
    /// What happened, with the other side's own words where there are any.
    pub said: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HindranceKind {
    /// No name, no route, nobody listens.
    Unreachable,
    /// Somebody listens and does not answer, or breaks off.
    NoReply,
    /// It asks for patience, or is broken for the moment.
    Busy,
    /// It does not know our credentials.
    Unauthorised,
    /// It knows us and does not let us in.
    Forbidden,
    NoSuchPlace,
    /// Nothing receives there any more.
    Gone,
    Redirected,
    /// It answers in a way that is neither yes nor no.
    Unexpected,
    /// What it says is no receipt: a login portal, a proxy.
    NoReceipt,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateOtherName,
    CertificateUnknownIssuer,
    CertificateUnacceptable,
    OwnCertificateRefused,
    OldTls,
    NotTls,
    /// Its name leads back to this box.
    PointsHere,
    /// What the site file names for it cannot be used: a key, a certificate, a password.
    Unusable,
    /// This letter: the receiver cannot read it or does not want it.
    LetterRefused,
    /// One letter after the other is refused: it is not the letters.
    RefusesAll,
    /// Gatehouse stopped, or made a mistake, before an answer came.
    CutShort,
}

impl Hindrance {
    pub fn new(kind: HindranceKind, said: Text) -> Self {
        Self { kind, said }
    }
}

impl HindranceKind {
    pub const ALL: [HindranceKind; 23] = {
        use HindranceKind::*;
        [
            Unreachable,
            NoReply,
            Busy,
            Unauthorised,
            Forbidden,
            NoSuchPlace,
            Gone,
            Redirected,
            Unexpected,
            NoReceipt,
            CertificateExpired,
            CertificateNotYetValid,
            CertificateOtherName,
            CertificateUnknownIssuer,
            CertificateUnacceptable,
            OwnCertificateRefused,
            OldTls,
            NotTls,
            PointsHere,
            Unusable,
            LetterRefused,
            RefusesAll,
            CutShort,
        ]
    };

    /// As stored and as programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoReply => "no_reply",
            Self::Busy => "busy",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::NoSuchPlace => "no_such_place",
            Self::Gone => "gone",
            Self::Redirected => "redirected",
            Self::Unexpected => "unexpected",
            Self::NoReceipt => "no_receipt",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::CertificateOtherName => "certificate_other_name",
            Self::CertificateUnknownIssuer => "certificate_unknown_issuer",
            Self::CertificateUnacceptable => "certificate_unacceptable",
            Self::OwnCertificateRefused => "own_certificate_refused",
            Self::OldTls => "old_tls",
            Self::NotTls => "not_tls",
            Self::PointsHere => "points_here",
            Self::Unusable => "unusable",
            Self::LetterRefused => "letter_refused",
            Self::RefusesAll => "refuses_all",
            Self::CutShort => "cut_short",
        }
    }

    /// It does not pass by itself: a person has to mend something, here or there.
    pub fn needs_somebody(self) -> bool {
        match self {
            Self::Unreachable | Self::NoReply | Self::Busy | Self::CutShort => false,
            Self::Unauthorised
            | Self::Forbidden
            | Self::NoSuchPlace
            | Self::Gone
            | Self::Redirected
            | Self::Unexpected
            | Self::NoReceipt
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateOtherName
            | Self::CertificateUnknownIssuer
            | Self::CertificateUnacceptable
            | Self::OwnCertificateRefused
            | Self::OldTls
            | Self::NotTls
            | Self::PointsHere
            | Self::Unusable
            | Self::LetterRefused
            | Self::RefusesAll => true,
        }
    }

    /// In a few words.
    pub fn title(self) -> Text {
        match self {
            Self::Unreachable => text!("连接不上", "cannot be reached"),
            Self::NoReply => text!("没有应答", "does not answer"),
            Self::Busy => text!("对方暂时不收", "takes nothing for the moment"),
            Self::Unauthorised => text!("登录被拒", "does not know our credentials"),
            Self::Forbidden => text!("没有权限", "does not let us in"),
            Self::NoSuchPlace => text!("地址不存在", "nothing receives under this url"),
            Self::Gone => text!("地址已撤销", "nothing receives under this url any more"),
            Self::Redirected => text!("地址被重定向", "redirects elsewhere"),
            Self::Unexpected => text!("应答不在约定之内", "answers in no agreed way"),
            Self::NoReceipt => text!("应答不是回执", "what it answers is no receipt"),
            Self::CertificateExpired => text!("对方证书已过期", "its certificate has expired"),
            Self::CertificateNotYetValid => text!("对方证书尚未生效", "its certificate is not valid yet"),
            Self::CertificateOtherName => {
                text!("对方证书属于别的名称", "its certificate is for another name")
            }
            Self::CertificateUnknownIssuer => {
                text!("对方证书的签发者不受信任", "its certificate is by an issuer we do not trust")
            }
            Self::CertificateUnacceptable => text!("对方证书不可接受", "its certificate is not acceptable"),
            Self::OwnCertificateRefused => {
                text!("对方不接受我们的证书", "it does not accept our certificate")
            }
            Self::OldTls => {
                text!("对方没有仍然安全的 TLS 版本", "it speaks no version of TLS that is still safe")
            }
            Self::NotTls => text!("对方不是 TLS", "what answers there is not TLS"),
            Self::PointsHere => text!("域名指向本机", "its name leads back to this box"),
            Self::Unusable => {
                text!("密钥或证书文件不能用", "a key or certificate file of it cannot be used")
            }
            Self::LetterRefused => text!("拒收个别消息", "refuses single letters"),
            Self::RefusesAll => text!("接连拒收", "refuses one letter after the other"),
            Self::CutShort => text!("中途停止", "cut short"),
        }
    }

    /// What a person can do.
    pub fn advice(self) -> Text {
        match self {
            Self::Unreachable => text!(
                "检查网络、域名和端口；网关继续重试",
                "check the network, its name and its port; the gateway keeps trying"
            ),
            Self::NoReply | Self::Busy => text!(
                "等对方恢复，或告知对方；网关继续重试",
                "wait for it, or tell those who run it; the gateway keeps trying"
            ),
            Self::Unauthorised => text!(
                "换上新的密钥文件即可，不必重启",
                "put the new credential into its file; no restart is needed"
            ),
            Self::Forbidden => {
                text!("请对方给这个账号开通权限", "ask those who run it to let this account in")
            }
            Self::NoSuchPlace | Self::Gone | Self::Redirected => text!(
                "向对方核对地址，改正配置里的 url",
                "ask for the right address and correct `url` in the site file"
            ),
            Self::Unexpected | Self::NoReceipt => text!(
                "看它答了什么；地址不对就改 url，约定不同就改 accept",
                "see what it said: correct `url`, or `accept` if its way of saying yes is another"
            ),
            Self::CertificateExpired | Self::CertificateNotYetValid => text!(
                "先核对本机时间，再请对方换证书",
                "check this box's clock first, then have the certificate renewed"
            ),
            Self::CertificateOtherName => {
                text!("url 里的名称要与证书一致", "the name in `url` must be the one in its certificate")
            }
            Self::CertificateUnknownIssuer => {
                text!("把签发者的证书放进 ca_file", "put its authority's certificate into `ca_file`")
            }
            Self::CertificateUnacceptable | Self::OldTls | Self::NotTls => {
                text!("请对方改正它的 TLS 设置", "have its TLS settings corrected")
            }
            Self::OwnCertificateRefused => text!(
                "换上对方认可的 cert_file 和 key_file，不必重启",
                "put a certificate it accepts into `cert_file` and `key_file`; no restart is needed"
            ),
            Self::PointsHere => {
                text!("检查域名解析", "check what the name server says about its name")
            }
            Self::Unusable => {
                text!("改正这些文件即可，不必重启", "correct those files; no restart is needed")
            }
            Self::LetterRefused => text!(
                "gatehouse delivery show 看原因，改好后 delivery retry 重发",
                "see why with `gatehouse delivery show`, then `delivery retry`"
            ),
            Self::RefusesAll => text!(
                "对方多半改了格式或出了错：告知对方；网关继续重试",
                "it has probably changed its format, or is broken: tell those who run it; the gateway keeps trying"
            ),
            Self::CutShort => text!("不用处理，会再送", "nothing: it is delivered again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_kind_has_words_of_its_own_in_both_languages() {
        let mut words = HashSet::new();
        for kind in HindranceKind::ALL {
            let title = kind.title();
            assert!(
                words.insert(title.zh.clone()) && words.insert(title.en.clone()),
                "{title:?} is there twice"
            );
            assert!(title.zh.chars().any(|c| !c.is_ascii()), "{title:?}");
            assert!(!kind.advice().zh.is_empty() && !kind.advice().en.is_empty(), "{kind:?}");
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.word(), "stored and shown under one word");
        }
        assert_eq!(words.len(), 2 * HindranceKind::ALL.len());
    }
}
