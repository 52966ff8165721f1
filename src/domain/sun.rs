//! When the sun rises and sets, to the minute: NOAA's solar calculator (after Meeus, Astronomical Algorithms), accurate to a minute below
//! 72° of latitude.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

/// Degrees: north and east are positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    pub latitude: f64,
    pub longitude: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SunEvent {
    Sunrise,
    Sunset,
}

/// Where the sun's centre stands when its upper edge touches a sea horizon: refraction 34′, half a sun 16′.
const ZENITH: f64 = 90.833;
const SECONDS_A_DAY: f64 = 86_400.0;
/// The position is reckoned for the moment found before; the third time nothing changes any more.
const ROUNDS: u32 = 3;

/// The event of `day`, counted from one mean midnight of the place to the next. `None` where the sun stays up or down.
pub fn sun(event: SunEvent, at: Coordinates, day: Date) -> Option<Timestamp> {
    let midnight = day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() as f64
        - at.longitude / 360.0 * SECONDS_A_DAY;
    let mut seconds = midnight + SECONDS_A_DAY / 2.0;
    for _ in 0..ROUNDS {
        let Sun { declination, minutes_ahead } = Sun::at(seconds);
        let half_day = hour_angle(at.latitude, declination)? / 360.0 * SECONDS_A_DAY;
        let noon = midnight + SECONDS_A_DAY / 2.0 - minutes_ahead * 60.0;
        seconds = match event {
            SunEvent::Sunrise => noon - half_day,
            SunEvent::Sunset => noon + half_day,
        };
    }
    let whole = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(whole).ok()
}

/// Degrees from noon to where the sun crosses the horizon.
fn hour_angle(latitude: f64, declination: f64) -> Option<f64> {
    let (latitude, declination) = (latitude.to_radians(), declination.to_radians());
    let cosine =
        ZENITH.to_radians().cos() / (latitude.cos() * declination.cos()) - latitude.tan() * declination.tan();
    (-1.0..=1.0).contains(&cosine).then(|| cosine.acos().to_degrees())
}

/// Where the sun stands: its declination in degrees, and how far a sundial is ahead of a clock (equation of time).
struct Sun {
    declination: f64,
    minutes_ahead: f64,
}

impl Sun {
    fn at(unix_seconds: f64) -> Self {
        const J2000: f64 = 946_728_000.0;
        let century = (unix_seconds - J2000) / (SECONDS_A_DAY * 36_525.0);
        let mean_longitude =
            (280.466_46 + century * (36_000.769_83 + century * 0.000_303_2)).rem_euclid(360.0);
        let anomaly = (357.529_11 + century * (35_999.050_29 - 0.000_153_7 * century)).to_radians();
        let eccentricity = 0.016_708_634 - century * (0.000_042_037 + 0.000_000_126_7 * century);
        let centre = anomaly.sin() * (1.914_602 - century * (0.004_817 + 0.000_014 * century))
            + (2.0 * anomaly).sin() * (0.019_993 - 0.000_101 * century)
            + (3.0 * anomaly).sin() * 0.000_289;
        let node = (125.04 - 1934.136 * century).to_radians();
        let apparent = (mean_longitude + centre - 0.005_69 - 0.004_78 * node.sin()).to_radians();
        let seconds = 21.448 - century * (46.815 + century * (0.000_59 - century * 0.001_813));
        let obliquity = (23.0 + (26.0 + seconds / 60.0) / 60.0 + 0.002_56 * node.cos()).to_radians();
        let (y, longitude) = ((obliquity / 2.0).tan().powi(2), mean_longitude.to_radians());
        let ahead = y * (2.0 * longitude).sin() - 2.0 * eccentricity * anomaly.sin()
            + 4.0 * eccentricity * y * anomaly.sin() * (2.0 * longitude).cos()
            - 0.5 * y * y * (4.0 * longitude).sin()
            - 1.25 * eccentricity * eccentricity * (2.0 * anomaly).sin();
        Sun {
            declination: (obliquity.sin() * apparent.sin()).asin().to_degrees(),
            minutes_ahead: 4.0 * ahead.to_degrees(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `place latitude longitude day sunrise sunset`, computed with PyEphem 4 (XEphem's libastro, VSOP87), upper edge, horizon −34′.
    const TABLE: &str = include_str!("sun_table.txt");

    #[test]
    fn within_two_minutes_of_an_independent_almanac() {
        let (mut visited, mut worst) = (0, 0);
        for line in TABLE.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_place, latitude, longitude, day, rises, sets] = words[..] else { panic!("{line}") };
            let at =
                Coordinates { latitude: latitude.parse().unwrap(), longitude: longitude.parse().unwrap() };
            for (event, expected) in [(SunEvent::Sunrise, rises), (SunEvent::Sunset, sets)] {
                let found = sun(event, at, day.parse().unwrap());
                let expected: Option<Timestamp> = expected.parse().ok();
                assert_eq!(found.is_some(), expected.is_some(), "{line}: {found:?}");
                let Some((found, expected)) = found.zip(expected) else { continue };
                worst = worst.max(found.duration_since(expected).as_secs().abs());
                visited += 1;
            }
        }
        assert!(visited >= 120 && worst <= 120, "{visited} visited, {worst} s off at most");
    }
}
