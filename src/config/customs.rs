//! `[shelving]` and `[escalation]`: what a site allows people, and who is told when nobody acknowledges.

use std::time::Duration;

use super::{
    desk::Desk,
    file::{ChatteringTable, EscalationTable, FloodTable, ShelvingTable, SiteFile},
};
use crate::{
    alarm::{ChatteringLimit, Customs, EscalationPlan, EscalationStep, FloodLimit, ShelvingLimits},
    at, text,
};

/// Longer is not a shelf but a switch.
const LONGEST_SHELF: Duration = Duration::from_secs(7 * 86_400);
/// Who heard that an alarm chatters wants to know soon how it stands.
const LONGEST_CALM: Duration = Duration::from_secs(3600);
/// Sooner is no time to take it on; it would only be noise.
const SOONEST: Duration = Duration::from_secs(1);

pub(super) fn customs(desk: &mut Desk<'_>, file: &SiteFile) -> Customs {
    let shelving = shelving(desk, &file.shelving);
    let escalation = file.escalation.as_ref().map(|table| escalation(desk, file, table));
    let chattering = chattering(desk, &file.chattering);
    let flood = flood(desk, &file.flood);
    Customs { shelving, escalation: escalation.unwrap_or_default(), chattering, flood }
}

fn shelving(desk: &mut Desk<'_>, table: &ShelvingTable) -> ShelvingLimits {
    let ShelvingTable { critical, high, medium, low, out_of_service } = table;
    for (key, limit) in [("critical", critical), ("high", high), ("medium", medium), ("low", low)] {
        if limit.0 > LONGEST_SHELF {
            let told = text!(
                "搁置最长 7d；更久请停用（alarms out-of-service）",
                "a shelf lasts 7d at most; what takes longer is out of service (alarms out-of-service)"
            );
            desk.error(at!["shelving", key], told);
        }
    }
    ShelvingLimits {
        critical: critical.0,
        high: high.0,
        medium: medium.0,
        low: low.0,
        out_of_service: out_of_service.0,
    }
}

fn chattering(desk: &mut Desk<'_>, table: &ChatteringTable) -> ChatteringLimit {
    let ChatteringTable { more_than, within, calm } = *table;
    for (key, period) in [("within", within), ("calm", calm)] {
        if !(SOONEST..=LONGEST_CALM).contains(&period.0) {
            desk.error(at!["chattering", key], text!("1s 到 1h", "it is 1s to 1h"));
        }
    }
    ChatteringLimit { more_than: more_than as usize, within: within.0, calm: calm.0 }
}

fn flood(desk: &mut Desk<'_>, table: &FloodTable) -> FloodLimit {
    let FloodTable { more_than, within, summary_every } = *table;
    for (key, period) in [("within", within), ("summary_every", summary_every)] {
        if !(SOONEST..=LONGEST_CALM).contains(&period.0) {
            desk.error(at!["flood", key], text!("1s 到 1h", "it is 1s to 1h"));
        }
    }
    FloodLimit { more_than: more_than as usize, within: within.0, summary_every: summary_every.0 }
}

fn escalation(desk: &mut Desk<'_>, file: &SiteFile, table: &EscalationTable) -> EscalationPlan {
    let known: Vec<&str> = file.endpoint.iter().map(|endpoint| endpoint.id.as_str()).collect();
    let too_soon = text!("至少 1s", "it is 1s at least");
    for (n, step) in table.step.iter().enumerate() {
        if step.after.0 < SOONEST {
            desk.error(at!["escalation", "step", n, "after"], too_soon.clone());
        }
        for (m, endpoint) in step.endpoints.iter().enumerate() {
            if !known.contains(&endpoint.as_str()) {
                let told = text!("没有上报目标 \"{endpoint}\"", "there is no endpoint \"{endpoint}\"");
                desk.dangling(at!["escalation", "step", n, "endpoints", m], told, endpoint, &known);
            }
        }
    }
    if table.again.is_some_and(|again| again.0 < SOONEST) {
        desk.error(at!["escalation", "again"], too_soon);
    }
    let idle = table.step.is_empty() && table.again.is_none();
    if idle || table.priorities.is_empty() {
        let told = text!(
            "这样写什么也不会升级：要有 [[escalation.step]] 或 again，以及 priorities",
            "nothing escalates by this: it takes an [[escalation.step]] or `again`, and priorities"
        );
        desk.warning(at!["escalation"], told);
    }
    let step = |step: &super::file::EscalationStepTable| EscalationStep {
        after: step.after.0,
        endpoints: step.endpoints.clone(),
        contact: step.contact.clone(),
    };
    EscalationPlan {
        priorities: table.priorities.clone(),
        steps: table.step.iter().map(step).collect(),
        again: table.again.map(|again| again.0),
    }
}
