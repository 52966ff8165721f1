//! What else happens in the compound when the story has been told, again and again until somebody stops it.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    case::{Case, DELIVERY},
    setting::PROPERTY,
    stage::{Missed, Stage},
    story,
    teller::Mark,
};
use crate::{domain::Text, text};

/// Between two happenings.
const PAUSE: Duration = Duration::from_secs(8);
/// Longest on-delay of the happenings below, with a poll or two.
const RAISE: Duration = Duration::from_secs(10);

/// Goes on for ever. A happening that went wrong is told, and the next one comes.
///
/// # Errors
/// If the compound or the gateway breaks; never [`Missed`].
pub async fn go_on(stage: &Stage) -> anyhow::Result<()> {
    for round in 0u32.. {
        sleep(PAUSE).await;
        let happened = match round % 4 {
            0 => kiosk_full(stage).await,
            1 => gate_tampered(stage).await,
            2 => safety_circuit(stage).await,
            _ => story::entrapment(stage, 10.0 - f64::from(round % 3), 11.6).await,
        };
        if let Err(error) = happened {
            stage.tell.missed(&error.downcast::<Missed>()?)?;
        }
    }
    Ok(())
}

async fn kiosk_full(stage: &Stage) -> anyhow::Result<()> {
    let kiosk = stage.compound.device("kiosk-2")?;
    let before = stage.inspector.deliveries();
    kiosk.set("fill_level", 94.0)?;
    stage.compound.speak(kiosk).await?;
    let subject = "kiosk-2/full".to_owned();
    let (mut case, raised) = Case::raised(stage, PROPERTY, subject, &before, RAISE + DELIVERY).await?;
    alarm(stage, text!("回收箱 2 已满 94%", "kiosk-2 is full, 94 %"), &raised.receipt)?;
    case.acknowledge("李娜", "已通知清运").await?;
    case.next("acknowledged", DELIVERY).await?;
    sleep(Duration::from_secs(2)).await;
    kiosk.set("fill_level", 4.0)?;
    stage.compound.speak(kiosk).await?;
    // Not latching: acknowledged and gone is closed.
    let closed = case.next("closed", RAISE + DELIVERY).await?;
    closed_now(stage, text!("已清运，自动关闭", "it was emptied and closes by itself"), &closed.receipt)
}

async fn gate_tampered(stage: &Stage) -> anyhow::Result<()> {
    let gate = stage.compound.device("gate-2")?;
    let before = stage.inspector.deliveries();
    gate.set("tamper", true)?;
    let subject = "gate-2/tamper".to_owned();
    let (mut case, raised) = Case::raised(stage, PROPERTY, subject, &before, RAISE + DELIVERY).await?;
    alarm(stage, text!("2号门读卡器被拆", "the reader of gate-2 is being opened"), &raised.receipt)?;
    case.acknowledge("王强", "保安到场").await?;
    case.next("acknowledged", DELIVERY).await?;
    gate.set("tamper", false)?;
    case.next("returned", RAISE + DELIVERY).await?;
    case.acknowledge("王强", "外壳已装回，录像已存").await?;
    let closed = case.next("closed", DELIVERY).await?;
    closed_now(
        stage,
        text!("外壳已装回，王强结案", "its cover is back on, the guard closes the alarm"),
        &closed.receipt,
    )
}

/// The controller on the pty reports fault 41: two alarms, the fault itself and what it means.
async fn safety_circuit(stage: &Stage) -> anyhow::Result<()> {
    const OTHER: &str = "lift-2-1";
    let before = stage.inspector.deliveries();
    stage.compound.car(OTHER)?.break_down(41.0);
    let subject = |alarm: &str| format!("{OTHER}/{alarm}");
    let of = async |alarm| Case::raised(stage, PROPERTY, subject(alarm), &before, RAISE + DELIVERY).await;
    let (mut circuit, raised) = of("safety_circuit_open").await?;
    alarm(
        stage,
        text!("2号楼1单元电梯 E41 安全回路断开", "lift-2-1 reports E41, safety circuit open"),
        &raised.receipt,
    )?;
    circuit.acknowledge("赵敏", "轿厢内无人，已通知维保").await?;
    circuit.next("acknowledged", DELIVERY).await?;
    let (mut fault, _) = of("fault").await?;
    fault.acknowledge("赵敏", "同上").await?;
    fault.next("acknowledged", DELIVERY).await?;
    stage.compound.car(OTHER)?.free();
    let closed = circuit.next("closed", RAISE + DELIVERY).await?;
    fault.next("closed", 2 * RAISE + DELIVERY).await?;
    closed_now(
        stage,
        text!("安全回路已修复，自动关闭", "the circuit is repaired, the alarms close by themselves"),
        &closed.receipt,
    )
}

fn alarm(stage: &Stage, what: Text, receipt: &str) -> anyhow::Result<()> {
    let (zh, en) = (what.zh, what.en);
    stage.tell.line(
        Mark::Alarm,
        text!("{zh} · 物业已收 {receipt}", "{en} · the property office has it, {receipt}"),
    )?;
    Ok(())
}

fn closed_now(stage: &Stage, what: Text, receipt: &str) -> anyhow::Result<()> {
    let (zh, en) = (what.zh, what.en);
    stage.tell.line(
        Mark::Done,
        text!("{zh} · 物业已收 {receipt}", "{en} · the property office has it, {receipt}"),
    )?;
    Ok(())
}
