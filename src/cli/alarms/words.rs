//! What lies over an alarm, and its steps, in words.

use jiff::tz::TimeZone;

use super::{local, state_word};
use crate::{
    domain::{AlarmState, Lang, Overlay, Period, Rescue, RescueWord, TransitionKind},
    say,
};

/// An alarm that is held back though nothing is wrong is not closed, but normal.
pub fn shown_state(state: AlarmState, overlay: &Overlay, lang: Lang) -> String {
    match state {
        AlarmState::Closed if overlay.is_held() || overlay.chattering.is_some() => {
            say!(lang, "正常", "normal")
        }
        state => state_word(state, lang),
    }
}

/// Each of the things that lie over it.
pub fn overlay_words(overlay: &Overlay, zone: &TimeZone, lang: Lang) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(shelf) = &overlay.shelf {
        let (until, by) = (local(shelf.until, zone), &shelf.order.by);
        words.push(say!(lang, "⏸ 搁置至 {until}（{by}）", "⏸ shelved until {until} ({by})"));
    }
    if let Some(out) = &overlay.out_of_service {
        let (until, by) = (local(out.until, zone), &out.order.by);
        words.push(match out.whole_device {
            true => say!(
                lang,
                "⏸ 整台停用至 {until}（{by}）",
                "⏸ the whole device out of service until {until} ({by})"
            ),
            false => say!(lang, "⏸ 停用至 {until}（{by}）", "⏸ out of service until {until} ({by})"),
        });
    }
    if overlay.suppressed {
        words.push(say!(lang, "⏸ 按设计抑制", "⏸ suppressed by design"));
    }
    if let Some(chattering) = &overlay.chattering {
        let (raises, since) = (chattering.raises, local(chattering.since, zone));
        words.push(say!(
            lang,
            "≋ 反复报警，自 {since} 起 {raises} 次",
            "≋ chattering, {raises} times since {since}"
        ));
    }
    if let Some(escalation) = overlay.escalation.as_ref().filter(|escalation| escalation.step > 0) {
        let step = escalation.step;
        let contact = escalation.contact.as_ref().map_or_else(String::new, |contact| format!(" → {contact}"));
        words.push(say!(
            lang,
            "无人确认，第 {step} 次升级{contact}",
            "nobody acknowledged: escalated {step} times{contact}"
        ));
    }
    words.extend(overlay.rescue.as_ref().and_then(|rescue| rescue_words(rescue, lang)));
    words
}

fn rescue_words(rescue: &Rescue, lang: Lang) -> Option<String> {
    let (limit, minutes) = (Period(rescue.limit), rescue.passing.credited.as_secs() / 60);
    match rescue.said? {
        RescueWord::Dispatched => Some(say!(lang, "救援已派遣", "help is on its way")),
        RescueWord::Arrived => Some(say!(lang, "救援已到场", "help has arrived")),
        RescueWord::Released => Some(say!(lang, "已解救", "released")),
        RescueWord::Warning => Some(say!(
            lang,
            "救援未到场，已 {minutes} 分钟（限 {limit}）",
            "help has not arrived after {minutes} min (limit {limit})"
        )),
        RescueWord::Overdue => Some(say!(lang, "救援超时（限 {limit}）", "help is overdue (limit {limit})")),
    }
}

/// The name of a step.
pub fn kind_word(kind: TransitionKind, lang: Lang) -> String {
    match kind {
        TransitionKind::Raised => say!(lang, "报警", "raised"),
        TransitionKind::Acknowledged => say!(lang, "确认", "acknowledged"),
        TransitionKind::Returned => say!(lang, "恢复", "returned to normal"),
        TransitionKind::Closed => say!(lang, "关闭", "closed"),
        TransitionKind::Shelved => say!(lang, "搁置", "shelved"),
        TransitionKind::Unshelved => say!(lang, "搁置结束", "unshelved"),
        TransitionKind::Suppressed => say!(lang, "开始抑制", "suppressed"),
        TransitionKind::Unsuppressed => say!(lang, "抑制结束", "no longer suppressed"),
        TransitionKind::OutOfService => say!(lang, "停用", "out of service"),
        TransitionKind::InService => say!(lang, "恢复使用", "in service"),
        TransitionKind::Escalated => say!(lang, "升级", "escalated"),
        TransitionKind::Rescue => say!(lang, "救援", "rescue"),
        TransitionKind::Chattering => say!(lang, "反复报警", "chattering"),
        TransitionKind::Calmed => say!(lang, "不再反复", "calm again"),
        TransitionKind::Summary => say!(lang, "汇总", "summary"),
        TransitionKind::Drill => say!(lang, "演练", "drill"),
        TransitionKind::Credit => say!(lang, "积分", "credit"),
    }
}

pub fn rescue_word(word: RescueWord, lang: Lang) -> String {
    match word {
        RescueWord::Dispatched => say!(lang, "派遣", "dispatched"),
        RescueWord::Arrived => say!(lang, "到场", "arrived"),
        RescueWord::Released => say!(lang, "解救", "released"),
        RescueWord::Warning => say!(lang, "未到场，提醒", "not arrived, warning"),
        RescueWord::Overdue => say!(lang, "超时", "overdue"),
    }
}
