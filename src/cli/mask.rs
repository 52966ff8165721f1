//! What is of persons is masked on the screen, unless somebody who may asks for it.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::Site,
    domain::{PointName, Text, Value},
    store::{
        Reader, Rollup, StoreError, StoredReading,
        privacy::{KeyFileError, OuterKey, Privacy, is_sealed},
    },
    text,
};

const MASKED: &str = "***";

/// The points of one device that are not for every eye.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    points: BTreeSet<PointName>,
    eyes: Eyes,
}

#[derive(Clone, Debug, Default)]
enum Eyes {
    #[default]
    Everybodys,
    /// Somebody who asked, and may: with the keys, where there are any.
    Permitted(Option<Arc<Privacy>>),
}

impl Mask {
    /// For `device` of this site; `asked`: to see what is of persons.
    ///
    /// # Errors
    /// If whoever asks may not.
    pub fn of(site: &Site, device: &str, asked: bool) -> Result<Self, Text> {
        let of_device = site.devices.iter().filter(|known| known.id.as_str() == device);
        let points = of_device.flat_map(|device| &device.profile.class.points);
        let points = points.filter(|point| point.data.is_private()).map(|point| point.name.clone()).collect();
        let eyes = if asked { Eyes::Permitted(keys(site)?) } else { Eyes::Everybodys };
        Ok(Self { points, eyes })
    }

    /// The reading as it may be seen.
    pub fn shown(&self, mut reading: StoredReading) -> StoredReading {
        let private = self.points.contains(&reading.point);
        reading.value = reading.value.map(|value| match &self.eyes {
            // a device that left the site: what was sealed stays so
            Eyes::Everybodys if private || is_sealed(&value) => Value::from(MASKED),
            Eyes::Permitted(keys) if is_sealed(&value) => {
                let opened = keys.as_ref().and_then(|keys| keys.open(&value));
                opened.unwrap_or_else(|| Value::from(MASKED))
            }
            Eyes::Everybodys | Eyes::Permitted(_) => value,
        });
        reading
    }

    /// What the readings of an hour or a day came to, as it may be seen.
    pub fn summed(&self, rollup: Rollup) -> Rollup {
        let private = self.points.contains(&rollup.point);
        let sealed = rollup.last.as_ref().is_some_and(is_sealed);
        match &self.eyes {
            Eyes::Everybodys if private || sealed => {
                let last = rollup.last.is_some().then(|| Value::from(MASKED));
                Rollup { min: None, max: None, mean: None, share: None, last, ..rollup }
            }
            Eyes::Permitted(keys) if sealed => {
                let open = |value: &Value| keys.as_ref().and_then(|keys| keys.open(value));
                let last = rollup.last.as_ref().and_then(open).unwrap_or_else(|| Value::from(MASKED));
                Rollup { last: Some(last), ..rollup }
            }
            Eyes::Everybodys | Eyes::Permitted(_) => rollup,
        }
    }
}

pub(super) fn keys(site: &Site) -> Result<Option<Arc<Privacy>>, Text> {
    let Some(private) = &site.private else { return Ok(None) };
    let file = private.key_file.display();
    let outer = OuterKey::load(&private.key_file).map_err(|why| match why {
        KeyFileError::Unreadable(error) => text!(
            "读不了密钥文件 {file}：{error}。请用网关的用户运行（sudo -u gatehouse）",
            "{file} cannot be read: {error}. Run as the gateway's own user (sudo -u gatehouse)"
        ),
        other => text!("密钥文件 {file} 不能用：{other}", "failed to {other}, {file}"),
    })?;
    match Reader::open(&site.store.dir).and_then(|reader| reader.privacy(outer)) {
        Ok(privacy) => Ok(Some(Arc::new(privacy))),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.text()),
    }
}
