//! What the sessions ask: the lines of `xtask/demo/questions.jsonl`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A question, and the answer that the language-model stand-in gives.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Question {
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// Reads all lines.
pub(crate) fn read(path: &Path) -> Result<Vec<Question>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the questions in {}", path.display()))?;
    let questions = text
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}:{} is no question", path.display(), index + 1))
        })
        .collect::<Result<Vec<Question>>>()?;
    ensure!(!questions.is_empty(), "{} is empty", path.display());
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_file_holds_at_least_200_different_questions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/questions.jsonl");
        let questions = read(&path).expect("readable");
        let different: HashSet<&str> = questions.iter().map(|q| q.question.as_str()).collect();
        assert!(different.len() >= 200, "{}", different.len());
        assert_eq!(different.len(), questions.len());
        assert!(questions.iter().all(|q| !q.answer.is_empty()));
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.jsonl");
        std::fs::write(&path, "{\"question\":\"a\",\"answer\":\"b\"}\nnonsense\n")
            .expect("written");
        let error = format!("{:#}", read(&path).expect_err("line 2"));
        assert!(error.contains("q.jsonl:2"), "{error}");
    }
}
