//! Which products a unit could be: the points of every Modbus profile, tried on it.

use serde::Serialize;

use crate::{
    cli::live::{
        LiveLine,
        trial::{Frames, Subject, Together, Verdict, try_profile},
    },
    domain::ProfileId,
    profile::{Address, Dialect, Library, Link},
};

/// How well one profile fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fit {
    pub profile: ProfileId,
    /// Points with a value.
    pub good: usize,
    pub of: usize,
    /// Points that the device does not have.
    pub not_supported: usize,
}

/// The best first; those of which nothing fits are left out.
pub async fn of(line: &mut LiveLine, unit: u8, library: &Library) -> Vec<Fit> {
    let mut fits = Vec::new();
    let subject = Subject { unit: Address::Unit(unit), member: None };
    let through = line.is_through_gateway();
    for profile in library.ids().filter_map(|id| library.profile(id)) {
        let Link::Modbus(link) = &profile.link else { continue };
        // a gateway asks strangers in plain Modbus only
        if through && link.dialect != Dialect::Standard {
            continue;
        }
        let trials =
            try_profile(line, &subject, &profile, Together::Neighbours, &mut Frames::default()).await;
        let count = |is: fn(&Verdict) -> bool| trials.iter().filter(|trial| is(&trial.verdict)).count();
        let fit = Fit {
            profile: profile.id.clone(),
            good: count(|verdict| matches!(verdict, Verdict::Pass { .. })),
            of: profile.points.len(),
            not_supported: count(|verdict| matches!(verdict, Verdict::NotSupported(_))),
        };
        fits.extend((fit.good > 0).then_some(fit));
    }
    rank(&mut fits);
    fits
}

/// By the share of points that fit, then by how many they are.
fn rank(fits: &mut [Fit]) {
    fits.sort_by(|a, b| {
        (b.good * a.of, b.good).cmp(&(a.good * b.of, a.good)).then(a.profile.cmp(&b.profile))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_share_comes_first_and_of_equals_the_larger() {
        let fit =
            |profile: &str, good, of| Fit { profile: profile.into(), good, of, not_supported: of - good };
        let mut fits =
            [fit("c/half", 2, 4), fit("a/all-of-2", 2, 2), fit("b/all-of-18", 18, 18), fit("a/most", 17, 18)];
        rank(&mut fits);
        let order = fits.iter().map(|fit| fit.profile.as_str()).collect::<Vec<_>>();
        assert_eq!(order, ["b/all-of-18", "a/all-of-2", "a/most", "c/half"]);
    }
}
