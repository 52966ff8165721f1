use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A kiosk that numbers what it takes in, and counts it.
#[derive(Default)]
struct Kiosk {
    total_g: i64,
    deliveries: u64,
}

impl Kiosk {
    fn claim(&mut self, weight_g: i64) -> Claim {
        self.total_g += weight_g;
        self.deliveries += 1;
        self.says(Some((self.deliveries, Ok(weight_g))))
    }

    fn says(&self, delivery: Option<(u64, Result<i64, Refused>)>) -> Claim {
        let delivery = delivery.map(|(number, weight_g)| {
            let transaction = format!("t{number}");
            Delivery {
                id: credit_id("site", &"kiosk-1".into(), &transaction),
                transaction,
                weight_g,
                category: None,
                points: None,
                card: None,
            }
        });
        Claim { delivery, total_g: Some(self.total_g), late: false, at: Timestamp::UNIX_EPOCH }
    }
}

/// The account with what was credited, as the store has it.
#[derive(Default)]
struct Books {
    account: Account,
    credits: BTreeMap<String, i64>,
    highest_g: Option<i64>,
}

impl Books {
    fn enter(&mut self, claim: &Claim) -> (Verdict, Counter) {
        let id = claim.delivery.as_ref().map(|delivery| delivery.id.to_string());
        let known = id.as_ref().and_then(|id| self.credits.get(id)).copied();
        let (verdict, counter) = self.account.enter(claim, known, self.highest_g);
        if let (Verdict::Credited { weight_g }, Some(id)) = (verdict, id) {
            assert_eq!(self.credits.insert(id, weight_g), None, "credited twice");
        }
        (verdict, counter)
    }

    /// The disk did not take the last claim for certain; it comes again.
    fn take_back(&mut self, claim: &Claim) {
        let id = claim.delivery.as_ref().map(|delivery| delivery.id.to_string());
        let Some(weight_g) = id.and_then(|id| self.credits.remove(&id)) else { return };
        self.account.take_back(&credit(weight_g));
        assert_eq!(self.enter(claim).0, Verdict::Credited { weight_g });
    }

    fn difference(&self) -> i64 {
        self.account.difference_g().expect("the counter was heard")
    }
}

fn credit(weight_g: i64) -> Credit {
    Credit {
        transaction: String::new(),
        category: None,
        weight_g,
        points: None,
        card: None,
        card_pseudonym: None,
        total_g: None,
        at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn what_is_lost_is_named_and_what_comes_late_fills_it() {
    let (mut kiosk, mut books) = (Kiosk { total_g: 500_000, deliveries: 0 }, Books::default());
    assert_eq!(books.enter(&kiosk.claim(1200)), (Verdict::Credited { weight_g: 1200 }, Counter::First));
    let lost = kiosk.claim(3400);
    books.enter(&kiosk.claim(700));
    assert_eq!((books.difference(), books.account.weight_g), (3400, 1900), "named, with how much");
    books.enter(&Claim { late: true, ..lost });
    assert_eq!((books.difference(), books.account.weight_g), (0, 5300));
}

#[test]
fn what_was_brought_before_the_books_began_is_credited_and_differs_from_nothing() {
    let (mut kiosk, mut books) = (Kiosk { total_g: 500_000, deliveries: 0 }, Books::default());
    let earlier = kiosk.claim(2500);
    books.enter(&kiosk.claim(1000));
    let (verdict, _) = books.enter(&Claim { late: true, ..earlier });
    assert_eq!((verdict, books.difference()), (Verdict::Credited { weight_g: 2500 }, 0));
}

#[test]
fn a_scale_in_motion_is_refused_once_and_credited_when_it_rests() {
    for first in [true, false] {
        let (mut kiosk, mut books) = (Kiosk::default(), Books::default());
        if !first {
            books.enter(&kiosk.claim(100));
        }
        let stable = kiosk.claim(4200);
        let moving = kiosk.says(Some((kiosk.deliveries, Err(Refused::Unstable))));
        let verdicts = [&moving, &moving, &stable, &stable, &moving].map(|claim| books.enter(claim).0);
        let credited = Verdict::Credited { weight_g: 4200 };
        let refused = Verdict::Refused(Refused::Unstable);
        assert_eq!(verdicts, [refused, Verdict::Again, credited, Verdict::Again, Verdict::Again]);
        assert_eq!((books.difference(), books.account.refused, books.account.refused_in_a_row), (0, 1, 0));
    }
}

#[test]
fn an_overflow_a_reset_and_a_setting_back_are_told_apart() {
    let (mut kiosk, mut books) =
        (Kiosk { total_g: 999_000, deliveries: 0 }, Books { highest_g: Some(1_000_000), ..Books::default() });
    books.enter(&kiosk.claim(500));
    kiosk.total_g -= 1_000_000;
    assert_eq!((books.enter(&kiosk.claim(1500)).1, books.difference()), (Counter::Overflowed, 0));
    books.enter(&kiosk.claim(300_000));
    kiosk.total_g = 0;
    assert_eq!((books.enter(&kiosk.claim(800)).1, books.difference()), (Counter::BeganAnew, 0));
    assert_eq!((books.account.overflows, books.account.began_anew), (1, 1));
    books.enter(&kiosk.claim(300_000));
    kiosk.total_g -= 60_000;
    assert_eq!((books.enter(&kiosk.claim(1000)).1, books.difference()), (Counter::Went, -60_000));
}

#[test]
fn a_number_that_is_used_again_for_another_weight_is_refused() {
    let (mut kiosk, mut books) = (Kiosk::default(), Books::default());
    books.enter(&kiosk.claim(1000));
    kiosk.deliveries = 0;
    assert_eq!(books.enter(&kiosk.claim(2000)).0, Verdict::Refused(Refused::NumberUsedAgain));
    assert_eq!(books.difference(), 2000, "and what it weighed is missing");
}

#[test]
fn points_are_reckoned_to_the_hundredth_and_never_overflow() {
    let tariff = Tariff(BTreeMap::from([("paper".to_owned(), 200), ("gold".to_owned(), i64::MAX)]));
    let points = |category, weight| tariff.points(category, weight);
    assert_eq!(points(Some("paper"), 12_350), Some(2470));
    assert_eq!(points(Some("paper"), 3), Some(1), "0.6 hundredths");
    assert_eq!((points(Some("glass"), 1), points(None, 1), points(Some("gold"), 2000)), (None, None, None));
    assert_eq!([Points(2470), Points(1000), Points(-5)].map(|p| p.to_string()), ["24.70", "10", "-0.05"]);
    assert_eq!([Kilograms(12_350), Kilograms(-60)].map(|kg| kg.to_string()), ["12.350", "-0.060"]);
}

#[test]
fn the_id_is_of_the_device_and_its_transaction_and_of_nothing_else() {
    let id = |site, device: &str, transaction| credit_id(site, &device.into(), transaction).to_string();
    let base = id("site", "kiosk-1", "7");
    assert_eq!(base, "90c59574819c9d6c5adb4133718a7b2e", "it is the same after every update of the program");
    for other in [id("site", "kiosk-1", "8"), id("site", "kiosk-17", ""), id("sitek", "iosk-1", "7")] {
        assert_ne!(base, other);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(i64),
    /// The message of a delivery is lost.
    Lose(i64),
    /// The scale moved, and came to rest afterwards.
    Settle(i64),
    /// What was said so many messages ago comes again.
    Again(usize),
    /// The kiosk was switched off, and counts from zero.
    Reset,
    /// What was entered last is taken back, and said again.
    TakeBack {
        late: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let weight = || 1i64..90_000;
    let step = prop_oneof![
        6 => weight().prop_map(Step::Deliver),
        2 => weight().prop_map(Step::Lose),
        2 => weight().prop_map(Step::Settle),
        4 => (0usize..20).prop_map(Step::Again),
        1 => Just(Step::Reset),
        1 => any::<bool>().prop_map(|late| Step::TakeBack { late }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever comes again, late or not at all, and however often the gateway or the kiosk starts anew: what was credited is what
    /// was brought, at rest, once each; and the difference is what was lost.
    #[test]
    fn the_books_are_what_was_brought(steps in steps()) {
        let (mut kiosk, mut books, mut said) = (Kiosk::default(), Books::default(), Vec::new());
        books.enter(&kiosk.says(None));
        let (mut heard, mut lost) = (0, 0);
        for step in steps {
            match step {
                Step::Deliver(weight) => {
                    let claim = kiosk.claim(weight);
                    books.enter(&claim);
                    heard += weight;
                    said.push(claim);
                }
                Step::Lose(weight) => {
                    kiosk.claim(weight);
                    lost += weight;
                    books.enter(&kiosk.says(None));
                }
                Step::Settle(weight) => {
                    let rests = kiosk.claim(weight);
                    let moves = kiosk.says(Some((kiosk.deliveries, Err(Refused::Unstable))));
                    for claim in [&moves, &rests] {
                        books.enter(claim);
                    }
                    heard += weight;
                    said.extend([moves, rests]);
                }
                Step::Again(ago) => {
                    let Some(claim) = said.iter().rev().nth(ago) else { continue };
                    books.enter(&Claim { late: true, ..claim.clone() });
                }
                Step::Reset => {
                    // a counter that shows little may begin anew unseen: it only is not what it was
                    kiosk.total_g = 0;
                    books.enter(&kiosk.says(None));
                }
                Step::TakeBack { late } => {
                    let Some(claim) = said.last() else { continue };
                    let late = late || claim.total_g != Some(kiosk.total_g);
                    books.take_back(&Claim { late, ..claim.clone() });
                }
            }
            // as after a restart
            let kept = serde_json::to_string(&books.account).unwrap();
            books.account = serde_json::from_str(&kept).unwrap();
            prop_assert_eq!(books.account.weight_g, heard);
            prop_assert_eq!(books.credits.values().sum::<i64>(), heard);
            prop_assert_eq!(books.difference(), lost);
        }
    }

    /// Messages in any order, each any number of times.
    #[test]
    fn any_order_gives_each_once(
        weights in prop::collection::vec(1i64..90_000, 1..20),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        late in any::<bool>(),
    ) {
        let mut kiosk = Kiosk::default();
        let claims: Vec<Claim> = weights.iter().map(|weight| kiosk.claim(*weight)).collect();
        let mut books = Books::default();
        let shuffled = order.iter().map(|index| index.index(claims.len()));
        for index in shuffled.chain(0..claims.len()) {
            books.enter(&Claim { late, ..claims[index].clone() });
        }
        prop_assert_eq!(books.account.weight_g, weights.iter().sum::<i64>());
        prop_assert_eq!(books.account.credits, weights.len() as u64);
    }

    #[test]
    fn nothing_makes_it_panic(
        claims in prop::collection::vec((any::<Option<i64>>(), any::<i64>(), any::<bool>(), 0u64..5), 0..40),
        highest in any::<Option<i64>>(),
    ) {
        let mut books = Books { highest_g: highest, ..Books::default() };
        for (total_g, weight, late, number) in claims {
            let claim = Kiosk::default().says((number > 0).then_some((number, Ok(weight))));
            books.enter(&Claim { total_g, late, ..claim });
        }
    }
}
