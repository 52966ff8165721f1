//! What is sealed, under which key, and when it cannot be read any more.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::Settings;

fn open(dir: &Path) -> (EventStore, Arc<Privacy>) {
    let settings = Settings::of_a_test(dir.join("data"));
    let outer = OuterKey::load_or_make(&dir.join("store-key")).unwrap();
    (EventStore::open(&settings).unwrap().0, Arc::new(Privacy::new(outer)))
}

fn day(n: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millisecond(1_764_000_000_000 + n * DAY_MS).unwrap())
}

const MONTH: Period = Period(std::time::Duration::from_secs(30 * 86_400));

#[tokio::test]
async fn a_value_is_read_with_the_key_and_with_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, privacy) = open(dir.path());
    assert_eq!(privacy.seal(&Value::from("王芳")), None, "no key is on the disk yet");
    store.tend_private_keys(&privacy, day(0), MONTH).await.unwrap();
    let long = "长".repeat(400);
    for value in [Value::from("王芳"), Value::from(88.0), Value::from(true), Value::from(long.as_str())] {
        let sealed = privacy.seal(&value).unwrap();
        let Value::Text(text) = &sealed else { panic!("{sealed:?}") };
        assert!(is_sealed(&sealed) && !text.contains("王芳") && text.len() <= 1024, "{text}");
        match (privacy.open(&sealed).unwrap(), value) {
            (Value::Text(opened), Value::Text(value)) => {
                assert!(value.starts_with(&*opened) && opened.len() >= 6)
            }
            (opened, value) => assert_eq!(opened, value),
        }
        assert_ne!(
            privacy.seal(&Value::from(true)),
            privacy.seal(&Value::from(true)),
            "each time another nonce"
        );
    }
    let body = br#"{"id":"x","by":"someone"}"#;
    let sealed = privacy.seal_body(body).unwrap();
    assert!(is_sealed_body(&sealed) && !is_sealed_body(body));
    assert_eq!(privacy.open_body(&sealed).as_deref(), Some(&body[..]));
    let mut bent = sealed.clone();
    *bent.last_mut().unwrap() ^= 1;
    for strange in [&bent[..], &sealed[..5], &[BODY_MARK], &[]] {
        assert_eq!(privacy.open_body(strange), None);
    }
    for strange in ["sealed:1:", "sealed:1:1:%%%", "sealed:1:99:AAAA", "sealed:1:1:AAAA", "plain"] {
        assert_eq!(privacy.open(&Value::from(strange)), None, "{strange}");
    }
    // as another process that only reads has them
    let reader = crate::store::Reader::open(&dir.path().join("data")).unwrap();
    let mine = reader.privacy(OuterKey::load(&dir.path().join("store-key")).unwrap()).unwrap();
    assert_eq!(mine.open(&privacy.seal(&Value::from(1.0)).unwrap()), Some(Value::from(1.0)));
    let other = reader.privacy(OuterKey::load_or_make(&dir.path().join("other-key")).unwrap()).unwrap();
    assert_eq!(other.open(&privacy.seal(&Value::from(1.0)).unwrap()), None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_a_key_sealed_is_gone_with_it_and_not_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (store, privacy) = open(dir.path());
    store.tend_private_keys(&privacy, None, MONTH).await.unwrap();
    let sealed: Vec<Value> = {
        let mut sealed = Vec::new();
        for n in 0..3 {
            store.tend_private_keys(&privacy, day(n), MONTH).await.unwrap();
            sealed.push(privacy.seal(&Value::from(n as f64)).unwrap());
        }
        sealed
    };
    let readable = |privacy: &Privacy| sealed.iter().filter(|value| privacy.open(value).is_some()).count();
    let thrown = |tended: Tended| (tended.thrown_away, tended.lost);
    assert_eq!(thrown(store.tend_private_keys(&privacy, day(31), MONTH).await.unwrap()), (0, 0));
    assert_eq!(readable(&privacy), 3);
    // one at a time, whatever the clock says
    assert_eq!(thrown(store.tend_private_keys(&privacy, day(4000), MONTH).await.unwrap()), (1, 0));
    assert_eq!(readable(&privacy), 2);
    assert_eq!(
        thrown(store.tend_private_keys(&privacy, None, MONTH).await.unwrap()),
        (0, 0),
        "no clock, no end"
    );
    store.close().await.unwrap();
    // a restart finds what is left; its outer key is the same file
    let (store, privacy) = open(dir.path());
    store.tend_private_keys(&privacy, day(5), MONTH).await.unwrap();
    assert_eq!(readable(&privacy), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn with_another_key_file_nothing_old_is_read_and_everything_new_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, privacy) = open(dir.path());
    store.tend_private_keys(&privacy, day(0), MONTH).await.unwrap();
    let old = privacy.seal(&Value::from(1.0)).unwrap();
    let other = Arc::new(Privacy::new(OuterKey::load_or_make(&dir.path().join("other")).unwrap()));
    let tended = store.tend_private_keys(&other, day(0), MONTH).await.unwrap();
    assert_eq!((tended.lost, other.open(&old)), (1, None));
    assert_eq!(other.open(&other.seal(&Value::from(2.0)).unwrap()), Some(Value::from(2.0)));
    store.close().await.unwrap();
}

#[test]
fn the_key_is_made_once_for_the_gateway_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store-key");
    OuterKey::load_or_make(&path).unwrap();
    let made = fs::read_to_string(&path).unwrap();
    OuterKey::load_or_make(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), made);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for nonsense in ["", "short", "!!!!"] {
        fs::write(&path, nonsense).unwrap();
        assert!(matches!(OuterKey::load_or_make(&path), Err(KeyFileError::NotAKey)), "{nonsense:?}");
    }
    assert!(matches!(OuterKey::load_or_make(&dir.path().join("no/such/dir")), Err(KeyFileError::Unmade(_))));
}
