//! The schemas that editors complete and check by: generated from the types that read the files, kept beside the example.

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use schemars::{Schema, schema_for};

    use crate::{
        config::file::SiteFile,
        profile::{ClassFile, CodesFile, ProfileFile},
    };

    #[test]
    fn the_schemas_beside_the_example_are_those_of_the_types() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema");
        let schemas: [(&str, Schema); 4] = [
            ("site.json", schema_for!(SiteFile)),
            ("class.json", schema_for!(ClassFile)),
            ("profile.json", schema_for!(ProfileFile)),
            ("codes.json", schema_for!(CodesFile)),
        ];
        for (file, schema) in schemas {
            let path = dir.join(file);
            let generated = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            if env::var_os("UPDATE_SCHEMAS").is_some() {
                fs::create_dir_all(&dir).unwrap();
                fs::write(&path, &generated).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                kept == generated,
                "config/schema/{file} is out of date: run the tests with UPDATE_SCHEMAS=1"
            );
        }
    }
}
