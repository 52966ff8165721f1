//! All classes, profiles and lists of codes there are: those built into the binary, and those of the site's own directories.
//!
//! A file replaces a shipped one of the same id. A replacement with errors does not bring the shipped one back: somebody
//! meant another map, and the old one would give wrong numbers.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Class, CodeTable, Profile, compile_class, compile_codes, compile_profile};
use crate::{
    document::{Document, Place, Problems, Source},
    domain::{ClassName, ProfileId},
    text,
};

/// Path under the repository, text.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

const CLASS_FILE: &str = "class.toml";
const CASES: &str = ".cases.toml";
const CODES: &str = ".codes.toml";

/// Classes and profiles by name; what has errors is not among them.
#[derive(Debug, Default)]
pub struct Library {
    classes: BTreeMap<ClassName, Option<Arc<Class>>>,
    profiles: BTreeMap<ProfileId, Arc<Profile>>,
    /// Profiles whose file has errors.
    broken: Vec<ProfileId>,
    cases: BTreeMap<ProfileId, Arc<Source>>,
    /// What each profile was made from.
    sources: BTreeMap<ProfileId, Arc<Source>>,
    /// Platforms' lists of codes, by `<class>/<list>`.
    codes: BTreeMap<String, Arc<CodeTable>>,
}

/// The files of one name each, the later over the earlier.
#[derive(Default)]
struct Shelf {
    classes: BTreeMap<ClassName, Found>,
    profiles: BTreeMap<ProfileId, Found>,
    cases: BTreeMap<ProfileId, Found>,
    codes: BTreeMap<String, Found>,
}

/// A file's text, or the place that could not be read (it is reported, and hides what it was to replace).
type Found = Option<Arc<Source>>;

impl Library {
    /// The shipped ones, then each of `dirs` (`<dir>/<class>/…`), later over earlier. A file with errors disables itself
    /// and is reported; so is a directory that cannot be read.
    pub fn load(dirs: &[PathBuf], problems: &mut Problems) -> Library {
        let mut shelf = Shelf::of(SHIPPED);
        for dir in dirs {
            if let Err(error) = shelf.add_dir(dir, problems) {
                unreadable(dir, &error, problems);
            }
        }
        Library::compile(shelf, problems)
    }

    /// Only what is built into the binary.
    pub fn shipped(problems: &mut Problems) -> Library {
        Library::load(&[], problems)
    }

    /// Only `files`: their paths (`<class>/class.toml`, `<class>/<maker>-<model>.toml`) and texts.
    pub fn of(files: &[(&str, &str)], problems: &mut Problems) -> Library {
        Library::compile(Shelf::of(files), problems)
    }

    fn compile(mut shelf: Shelf, problems: &mut Problems) -> Library {
        let mut library = Library::default();
        for (name, source) in shelf.classes {
            let class = source.and_then(|source| library.class_in(&source, &name, problems));
            library.classes.insert(name, class.map(Arc::new));
        }
        for (id, source) in shelf.profiles {
            let cases = shelf.cases.remove(&id).flatten().filter(|cases| beside(cases, source.as_ref()));
            library.cases.extend(cases.map(|cases| (id.clone(), cases)));
            library.sources.extend(source.iter().map(|source| (id.clone(), source.clone())));
            match source.and_then(|source| library.profile_at(&source, &id, problems)) {
                Some(profile) => drop(library.profiles.insert(id, Arc::new(profile))),
                None => library.broken.push(id),
            }
        }
        for (id, source) in shelf.codes {
            let table = source.and_then(|source| library.codes_at(&source, &id, problems));
            library.codes.extend(table.map(|table| (id, Arc::new(table))));
        }
        library
    }

    fn class_in(&self, source: &Arc<Source>, name: &ClassName, problems: &mut Problems) -> Option<Class> {
        let document = Document::parse(source.clone(), problems)?;
        let class = compile_class(&document, problems)?;
        if class.name != *name {
            let written = &class.name;
            let told = text!(
                "目录名是 {name}，文件里写的是 {written}",
                "its directory is {name}, the file says {written}"
            );
            problems.error(document.place(crate::at!["class"]), told);
            return None;
        }
        Some(class)
    }

    fn profile_at(&self, source: &Arc<Source>, id: &ProfileId, problems: &mut Problems) -> Option<Profile> {
        let document = Document::parse(source.clone(), problems)?;
        let profile = compile_profile(&document, &self.classes, problems)?;
        if profile.id != *id {
            let written = &profile.id;
            let told = text!(
                "按文件位置应是 {id}，文件里写的是 {written}",
                "by its place it is {id}, the file says {written}"
            );
            problems.error(document.place(crate::at!["profile"]), told);
            return None;
        }
        Some(profile)
    }

    fn codes_at(&self, source: &Arc<Source>, id: &str, problems: &mut Problems) -> Option<CodeTable> {
        let document = Document::parse(source.clone(), problems)?;
        let table = compile_codes(&document, &self.classes, problems)?;
        if table.id != id {
            let written = &table.id;
            let told = text!(
                "按文件位置应是 {id}，文件里写的是 {written}",
                "by its place it is {id}, the file says {written}"
            );
            problems.error(document.place(crate::at!["codes"]), told);
            return None;
        }
        Some(table)
    }

    /// The profile in a file that is not of this library, over its classes, `class` before them; `None` and the mistakes
    /// in `problems`.
    pub fn profile_in(
        &self,
        source: &Arc<Source>,
        class: Option<Class>,
        problems: &mut Problems,
    ) -> Option<Profile> {
        compile_profile(&Document::parse(source.clone(), problems)?, &self.classes_with(class), problems)
    }

    /// The same of a list of codes.
    pub fn codes_in(
        &self,
        source: &Arc<Source>,
        class: Option<Class>,
        problems: &mut Problems,
    ) -> Option<CodeTable> {
        compile_codes(&Document::parse(source.clone(), problems)?, &self.classes_with(class), problems)
    }

    fn classes_with(&self, class: Option<Class>) -> BTreeMap<ClassName, Option<Arc<Class>>> {
        let mut classes = self.classes.clone();
        classes.extend(class.map(|class| (class.name.clone(), Some(Arc::new(class)))));
        classes
    }

    pub fn profile(&self, id: &str) -> Option<Arc<Profile>> {
        self.profiles.get(id).cloned()
    }

    pub fn class(&self, name: &str) -> Option<Arc<Class>> {
        self.classes.get(name).cloned().flatten()
    }

    /// A platform's list of codes.
    pub fn code_table(&self, id: &str) -> Option<Arc<CodeTable>> {
        self.codes.get(id).cloned()
    }

    /// Those that can be used, sorted.
    pub fn code_tables(&self) -> impl Iterator<Item = &Arc<CodeTable>> {
        self.codes.values()
    }

    /// The profiles that can be used, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &ProfileId> {
        self.profiles.keys()
    }

    /// The classes that can be used, sorted.
    pub fn class_names(&self) -> impl Iterator<Item = &ClassName> {
        self.classes.iter().filter(|(_, class)| class.is_some()).map(|(name, _)| name)
    }

    /// True if there is a file for `id`, but with errors (reported when it was loaded).
    pub fn is_broken(&self, id: &str) -> bool {
        self.broken.iter().any(|broken| broken.as_str() == id)
    }

    /// The file that the profile was made from.
    pub fn source(&self, id: &str) -> Option<Arc<Source>> {
        self.sources.get(id).cloned()
    }

    /// The cases file beside the profile.
    pub fn cases(&self, id: &str) -> Option<Arc<Source>> {
        self.cases.get(id).cloned()
    }
}

impl Shelf {
    fn of(files: &[(&str, &str)]) -> Self {
        let mut shelf = Shelf::default();
        for (path, text) in files {
            let path = Path::new(path);
            shelf.put(path, Some(Arc::new(Source { path: path.to_owned(), text: (*text).to_owned() })));
        }
        shelf
    }

    /// By the last two steps of its path; what is no file of ours is left alone.
    fn put(&mut self, path: &Path, source: Found) {
        let Some((class, file)) = class_and_file(path) else { return };
        let id = |stem: &str| ProfileId::from(format!("{class}/{stem}"));
        if file == CLASS_FILE {
            self.classes.insert(class.into(), source);
        } else if let Some(stem) = file.strip_suffix(CASES) {
            self.cases.insert(id(stem), source);
        } else if let Some(stem) = file.strip_suffix(CODES) {
            self.codes.insert(format!("{class}/{stem}"), source);
        } else if let Some(stem) = file.strip_suffix(".toml") {
            self.profiles.insert(id(stem), source);
        }
    }

    fn add_dir(&mut self, dir: &Path, problems: &mut Problems) -> io::Result<()> {
        for class in sorted(dir)?.into_iter().filter(|path| path.is_dir()) {
            match sorted(&class) {
                Ok(files) => {
                    for file in files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "toml"))
                    {
                        let source =
                            Document::load(&file, problems).map(|document| document.source().clone());
                        self.put(&file, source);
                    }
                }
                Err(error) => unreadable(&class, &error, problems),
            }
        }
        Ok(())
    }
}

fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The cases of a replaced profile say nothing of the one that replaces it.
fn beside(cases: &Source, profile: Option<&Arc<Source>>) -> bool {
    profile.is_some_and(|profile| profile.path.parent() == cases.path.parent())
}

fn class_and_file(path: &Path) -> Option<(&str, &str)> {
    let class = path.parent()?.file_name()?.to_str()?;
    Some((class, path.file_name()?.to_str()?))
}

fn unreadable(dir: &Path, error: &io::Error, problems: &mut Problems) {
    let source = Arc::new(Source { path: dir.to_owned(), text: String::new() });
    let told = text!("读不出这个目录：{error}", "the directory cannot be read: {error}");
    problems.error(Place { source, span: 0..0 }, told);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::Lang,
        profile::{Difference, plain_wire, read_cases, run_cases},
    };

    #[test]
    fn everything_shipped_is_sound() {
        let mut problems = Problems::default();
        let library = Library::shipped(&mut problems);
        assert_eq!(problems.lines(Lang::En), "");
        assert!(library.ids().count() >= 5, "five classes, each with a product");
        for id in library.ids() {
            assert!(library.cases(id).is_some(), "{id} has cases beside it");
        }
    }

    #[test]
    fn every_shipped_case_holds() {
        let mut problems = Problems::default();
        let library = Library::shipped(&mut problems);
        let (mut visited, mut failed) = (0, Vec::new());
        for id in library.ids() {
            let profile = library.profile(id).expect("it is listed");
            let source = library.cases(id).expect("it has cases");
            let cases = Document::parse(source, &mut problems)
                .and_then(|document| read_cases(&document, &profile, &mut problems));
            for verdict in run_cases(&profile, &cases.unwrap_or_default(), &plain_wire) {
                visited += 1;
                for Difference { of, want, got } in verdict.differences {
                    failed.push(format!("{id}: {}: {of}: want {want}, got {got}", verdict.fact));
                }
            }
        }
        assert_eq!(problems.lines(Lang::En), "");
        assert_eq!(failed, Vec::<String>::new(), "of {visited} cases");
        assert!(visited >= 20, "only {visited} cases");
    }
}
