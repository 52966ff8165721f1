//! The story: the compound comes to life, somebody is trapped, the inspection office is told, the car is freed.
//!
//! Every line that says ✓ was checked: at the receiver, at the door, or in the store.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};

use super::{
    case::{Case, DELIVERY},
    setting::INSPECTION,
    stage::Stage,
    teller::Mark,
};
use crate::{
    domain::{ClassName, Text, Value, status::LinkState},
    sim::Delivery,
    text,
};

/// The car of the story: its terminal has every sensor that the suspicion needs.
pub const LIFT: &str = "lift-3-1";
const SUSPICION: &str = "passenger_trapped_suspected";
/// As the demo's site file has it.
pub const ON_DELAY: Duration = Duration::from_secs(5);
/// So that a reader can follow.
const BREATH: Duration = Duration::from_secs(1);

/// Tells the whole story once.
///
/// # Errors
/// [`super::stage::Missed`] at the first step that did not happen.
pub async fn whole(stage: &Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    everybody_answers(stage).await?;
    values_appear(stage).await?;
    entrapment(stage, 4.0, 7.4).await?;
    let took = began.elapsed().as_secs();
    stage.tell.line(Mark::Done, text!("故事讲完，{took} 秒", "the story is told, {took} s"))?;
    stage.end();
    Ok(())
}

/// Waits until every device of the site has answered once.
async fn everybody_answers(stage: &Stage) -> anyhow::Result<()> {
    let began = Instant::now();
    let step = text!("全部设备有应答", "every device answers");
    let live = stage
        .until(Duration::from_secs(25), step, async || {
            let Some(live) = stage.live().await? else { return Ok(None) };
            let silent = live.devices.iter().filter(|device| device.link != LinkState::Online);
            let silent: Vec<&str> = silent.map(|device| device.id.as_str()).collect();
            for (id, device) in stage.compound.speakers() {
                // Who speaks by itself is heard only from when the gateway listens.
                if silent.contains(&id.as_str()) {
                    stage.compound.speak(device).await?;
                }
            }
            Ok(silent.is_empty().then_some(live))
        })
        .await?;
    let mut classes: BTreeMap<&ClassName, usize> = BTreeMap::new();
    for device in &live.devices {
        *classes.entry(&device.class).or_default() += 1;
    }
    let of = |class: &str| classes.get(&ClassName::from(class)).copied().unwrap_or_default();
    let (lifts, gates, spaces) = (of("elevator"), of("access-gate"), of("parking-sensor"));
    let (lights, kiosks) = (of("street-light"), of("recycling-kiosk"));
    let (all, took) = (live.devices.len(), began.elapsed().as_secs_f64());
    stage.tell.line(
        Mark::Done,
        text!(
            "{all} 台设备全部应答（{took:.1} 秒）：电梯 {lifts} · 门禁 {gates} · 车位 {spaces} · 路灯 {lights} · 回收箱 {kiosks}",
            "all {all} devices answer ({took:.1} s): {lifts} elevators · {gates} gates · {spaces} parking spaces · {lights} street lights · {kiosks} kiosks"
        ),
    )?;
    Ok(())
}

/// Tells a few values as they stand in the store.
async fn values_appear(stage: &Stage) -> anyhow::Result<()> {
    let patience = Duration::from_secs(10);
    let spaces: Vec<String> =
        stage.compound.of_class("parking-sensor").map(|(id, _)| id.to_string()).collect();
    let all = spaces.len();
    let step = text!("车位占用入库", "the parking spaces are in the store");
    let free = stage
        .until(patience, step, async || {
            let values = stage.latest(spaces.clone(), "occupied").await?;
            let known: Option<Vec<Value>> = values.into_iter().collect();
            Ok(known.map(|known| known.iter().filter(|value| **value == Value::Flag(false)).count()))
        })
        .await?;
    let number = async |device: &str, point: &'static str| {
        let step = text!("{device} 的 {point} 入库", "{point} of {device} is in the store");
        stage
            .until(patience, step, async || {
                let values = stage.latest(vec![device.to_owned()], point).await?;
                Ok(values.into_iter().flatten().find_map(|value| match value {
                    Value::Number(number) => Some(number),
                    Value::Flag(_) | Value::Text(_) => None,
                }))
            })
            .await
    };
    let (floor, speed) = (number("lift-1-1", "floor").await?, number("lift-1-1", "speed").await?);
    let (charge, weight) = (number("light-1", "battery_soc").await?, number("kiosk-1", "weight").await?);
    stage.tell.line(
        Mark::Done,
        text!(
            "读数已入库：1号楼电梯 {floor} 层 {speed} m/s · 空车位 {free}/{all} · 1号路灯电量 {charge}% · 1号回收箱 {weight} kg",
            "readings are stored: lift-1-1 floor {floor}, {speed} m/s · {free} of {all} spaces free · light-1 at {charge} % · kiosk-1 {weight} kg"
        ),
    )?;
    Ok(())
}

/// Somebody is trapped in the car of the story between two floors, and gets out again.
///
/// # Errors
/// [`super::stage::Missed`].
pub async fn entrapment(stage: &Stage, from: f64, between: f64) -> anyhow::Result<()> {
    let before = stage.inspector.deliveries();
    gets_stuck(stage, from, between).await?;
    let subject = format!("{LIFT}/{SUSPICION}");
    let (mut case, raised) = Case::raised(stage, INSPECTION, subject, &before, ON_DELAY + DELIVERY).await?;
    is_told(stage, &raised, between).await?;
    sleep(BREATH).await;
    is_taken_on(stage, &mut case).await?;
    sleep(BREATH).await;
    is_freed(stage, &mut case, between.ceil()).await?;
    let events = case.agrees_with_the_store().await?;
    stage.tell.line(
        Mark::Done,
        text!(
            "监察收到 触发 → 确认 → 恢复 → 关闭：顺序正确，与事件库逐条一致；哈希链完整（{events} 条）",
            "the office has raised → acknowledged → returned → closed: in order, each as the store has it; the hash chain holds ({events} events)"
        ),
    )?;
    Ok(())
}

/// The car goes up with people in it and stops between two floors.
async fn gets_stuck(stage: &Stage, from: f64, between: f64) -> anyhow::Result<()> {
    {
        let mut car = stage.compound.car(LIFT)?;
        car.stand_at(from);
        car.jam_at(between, 0.0);
        car.call(between.ceil() + 3.0);
    }
    stage.tell.line(
        Mark::Calm,
        text!("3号楼1单元电梯载客从 {from} 层上行", "lift-3-1 goes up from floor {from} with people in it"),
    )?;
    let step = text!("轿厢停在两层之间", "the car stops between two floors");
    let is_stuck = async || Ok(stage.compound.car(LIFT)?.is_stuck().then_some(()));
    stage.until(Duration::from_secs(15), step, is_stuck).await?;
    let (below, above, delay) = (between.floor(), between.ceil(), ON_DELAY.as_secs());
    stage.tell.line(
        Mark::Calm,
        text!(
            "停在 {below}、{above} 层之间：非平层、门关、有人、速度 0；疑似困人须持续 {delay} 秒（正式为 30 秒）",
            "it stops between {below} and {above}: outside a landing, door closed, people inside; a suspicion must hold for {delay} s (30 s in earnest)"
        ),
    )?;
    Ok(())
}

/// The inspection office knows, and knows the right thing, and not too early.
async fn is_told(stage: &Stage, raised: &Delivery, between: f64) -> anyhow::Result<()> {
    let (below, above) = (between.floor(), between.ceil());
    tells_what_was_measured(stage, raised, below).await?;
    let held = held_for(stage, raised).await?.as_secs_f64();
    let number = &raised.occurrence;
    stage.tell.line(
        Mark::Alarm,
        text!(
            "疑似困人（推断）：3号楼1单元 {below}↔{above} 层 门关 有人 · {held:.1} 秒后报警 · 编号 {number}",
            "suspected entrapment (inferred): lift-3-1 between {below} and {above}, door closed, occupied · after {held:.1} s · {number}"
        ),
    )?;
    receipt(stage, raised)?;
    Ok(())
}

async fn is_taken_on(stage: &Stage, case: &mut Case<'_>) -> anyhow::Result<()> {
    case.acknowledge("张伟", "已呼叫轿厢，有人应答；已通知维保").await?;
    let acknowledged = case.next("acknowledged", DELIVERY).await?;
    stage.tell.line(
        Mark::Calm,
        text!(
            "检查员张伟确认：轿厢内有人应答，已通知维保",
            "inspector Zhang Wei acknowledges: somebody answers from the car, help is on its way"
        ),
    )?;
    receipt(stage, &acknowledged)?;
    Ok(())
}

/// Everybody gets out at `floor`; the alarm returns, and a person closes it.
async fn is_freed(stage: &Stage, case: &mut Case<'_>, floor: f64) -> anyhow::Result<()> {
    stage.compound.car(LIFT)?.free();
    stage.tell.line(
        Mark::Calm,
        text!(
            "维保到场：轿厢移到 {floor} 层，门开，乘客离开",
            "help has come: the car moves to floor {floor}, the door opens, everybody is out"
        ),
    )?;
    let returned = case.next("returned", DELIVERY + Duration::from_secs(5)).await?;
    stage.tell.line(
        Mark::Calm,
        text!(
            "条件已恢复；生命安全报警不会自己关闭，须有人结案",
            "back to normal; an alarm about people's lives never closes by itself"
        ),
    )?;
    receipt(stage, &returned)?;

    case.acknowledge("张伟", "乘客已解救，无人受伤").await?;
    let closed = case.next("closed", DELIVERY).await?;
    stage.tell.line(
        Mark::Calm,
        text!("张伟结案：乘客已解救，无人受伤", "Zhang Wei closes it: everybody is out, nobody is hurt"),
    )?;
    receipt(stage, &closed)?;
    Ok(())
}

/// The event carries what the car's sensors said.
async fn tells_what_was_measured(stage: &Stage, raised: &Delivery, floor: f64) -> anyhow::Result<()> {
    let step = text!("报警带有现场读数", "the alarm carries what was measured");
    let facts = [
        ("floor", Json::from(floor as i64)),
        ("speed", Json::from(0)),
        ("door", Json::from("closed")),
        ("door_zone", Json::from(false)),
        ("occupied", Json::from(true)),
    ];
    for (point, expected) in facts {
        let found = raised.event.pointer(&format!("/data/readings/{point}/value"));
        if found != Some(&expected) {
            let why = text!("{point} 是 {found:?}，应为 {expected}", "{point} is {found:?}, not {expected}");
            return Err(stage.missed(step, why).await.into());
        }
    }
    Ok(())
}

/// How long the car had stood still, by the readings on disk, when the alarm was raised: never less than the on-delay.
async fn held_for(stage: &Stage, raised: &Delivery) -> anyhow::Result<Duration> {
    let step = text!("延时满后才报警", "the alarm was raised after its delay");
    let raised_at = raised.event.pointer("/data/alarm/raised_at").and_then(Json::as_str);
    let raised_at: Timestamp =
        raised_at.unwrap_or_default().parse().context("read when the alarm was raised")?;
    let from = raised_at - 4 * ON_DELAY;
    let patience = Duration::from_secs(5);
    let still = stage
        .until(patience, step.clone(), async || {
            Ok(still_since(&stage.values(LIFT.to_owned(), "speed", from).await?, raised_at))
        })
        .await?;
    let held = Duration::try_from(raised_at.duration_since(still)).unwrap_or_default();
    if held < ON_DELAY {
        let why = text!(
            "只持续了 {held:?}，延时是 {ON_DELAY:?}",
            "it held for {held:?}, the delay is {ON_DELAY:?}"
        );
        return Err(stage.missed(step, why).await.into());
    }
    Ok(held)
}

/// Since when the car has stood still at `moment`; `None` if the readings say nothing of that.
fn still_since(speeds: &[(Timestamp, Value)], moment: Timestamp) -> Option<Timestamp> {
    let before = speeds.iter().rev().skip_while(|(at, _)| *at > moment);
    let still = before.take_while(|(_, speed)| *speed == Value::Number(0.0));
    still.last().map(|(at, _)| *at)
}

/// What an alarm's step is called, from the type of its event.
fn step_word(kind: &str) -> Text {
    let en = kind.rsplit('.').next().unwrap_or(kind);
    let zh = match en {
        "raised" => "触发",
        "acknowledged" => "确认",
        "returned" => "恢复",
        "closed" => "关闭",
        other => other,
    };
    Text::new(zh, en)
}

fn receipt(stage: &Stage, delivery: &Delivery) -> std::io::Result<()> {
    let Delivery { kind, id, seq, receipt, .. } = delivery;
    let (Text { zh, en }, id) = (step_word(kind), id.get(..8).unwrap_or(id));
    stage.tell.line(
        Mark::Done,
        text!(
            "送达安全监察：{zh} · 事件 {id}… · 序号 {seq} · 签名有效 · 平台回执 {receipt}",
            "delivered to the inspection office: {en} · event {id}… · seq {seq} · signature holds · receipt {receipt}"
        ),
    )
}
