//! Which of its agent's skills a run has, decided by its event.

use std::{fmt::Write as _, fs, path::Path};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{
    config::{skill_text::laid_out, skills::body},
    domain::{
        agent::Skill,
        filter::{Filter, Prepared},
        run::{Failure, FailureCode, MessageKind},
        skill::SkillUse,
    },
    executor::{
        RunSink, RunSpec, Stopped, workdir,
        workdir::{plain_path, write_new},
    },
};

/// The skills of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chosen {
    /// In the order of the agent's file; how each is used.
    given: Vec<(Skill, bool)>,
    /// Those that its rules left out, and why.
    left_out: Vec<(String, &'static str)>,
}

impl Chosen {
    /// Decides, and puts that into the run's record when there is anything to decide about.
    pub(super) async fn of(spec: &RunSpec, sink: &mut dyn RunSink) -> Result<Self, Stopped> {
        if spec.agent.skills.is_empty() {
            return Ok(Self::default());
        }
        let (agent, event) = (spec.agent.clone(), spec.event_json());
        let chosen = workdir::blocking(move || Ok(choose(&agent.skills, &agent.spec.skills, &event))).await?;
        sink.message(MessageKind::Status, chosen.record()).await?;
        Ok(chosen)
    }

    /// Whether it has none.
    pub(super) const fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// What the record says.
    fn record(&self) -> Value {
        let words = |(skill, always): &(Skill, bool)| {
            if *always { format!("{} (always)", skill.name) } else { skill.name.clone() }
        };
        let mut text = self.given.iter().map(words).collect::<Vec<_>>().join(", ");
        if text.is_empty() {
            text.push_str("none");
        }
        for (name, why) in &self.left_out {
            // Writing to a text cannot fail.
            let _ = write!(text, "; without {name}: {why}");
        }
        let how = |always: bool| if always { "always" } else { "on_demand" };
        let given: Vec<Value> =
            self.given.iter().map(|(skill, always)| json!({"name": skill.name, "how": how(*always)})).collect();
        let left_out: Vec<Value> =
            self.left_out.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect();
        json!({"text": format!("skills: {text}"), "skills": given, "skills_left_out": left_out})
    }

    /// Those that the run has, and whether each is always on.
    pub(super) fn given(&self) -> impl Iterator<Item = (&Skill, bool)> {
        self.given.iter().map(|(skill, always)| (skill, *always))
    }

    /// `prompt` with the skills that are always on. `folder` is where [`Chosen::lay_out`] puts them.
    pub(super) fn system_prompt(&self, prompt: &str, folder: &Path) -> String {
        self.in_words(prompt, |name| format!("The files of this skill are in {}", folder.join(name).display()))
    }

    /// `prompt` with the skills that are always on; `files` says of one by name where its other files are.
    pub(super) fn in_words(&self, prompt: &str, files: impl Fn(&str) -> String) -> String {
        let mut text = prompt.to_owned();
        for (skill, _) in self.given.iter().filter(|(_, always)| *always) {
            let main = main_of(skill);
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            // Writing to a text cannot fail.
            let _ = write!(text, "<skill name=\"{}\">\n{}", skill.name, body(&main));
            if skill.files.len() > 1 {
                let _ = write!(text, "\n\n{}", files(&skill.name));
            }
            text.push_str("\n</skill>");
        }
        text
    }

    /// Lays out skills as `<under>/<name>/…`, as they are. Blocks.
    pub(super) fn lay_out(&self, under: &Path) -> Result<(), Failure> {
        self.given.iter().try_for_each(|(skill, _)| lay_out(skill, under, |_, bytes| bytes))
    }

    /// The same for Claude Code, which obeys the frontmatter of skills: with nothing that runs or grants. Blocks.
    pub(super) fn lay_out_as_words(&self, under: &Path) -> Result<(), Failure> {
        self.given.iter().try_for_each(|(skill, _)| {
            lay_out(skill, under, |path, bytes| laid_out(skill, path, &bytes).map_or(bytes, String::into_bytes))
        })
    }
}

/// The text of a skill's `SKILL.md`.
pub(super) fn main_of(skill: &Skill) -> String {
    let main = skill.files.get("SKILL.md").and_then(|file| BASE64.decode(file.as_bytes()).ok());
    String::from_utf8(main.unwrap_or_default()).unwrap_or_default()
}

fn choose(skills: &[Skill], uses: &[SkillUse], event: &Value) -> Chosen {
    let prepared = Prepared::new(event);
    let mut chosen = Chosen::default();
    for skill in skills {
        let how = uses.iter().find(|entry| entry.name() == skill.name);
        let answer = match how.and_then(SkillUse::when) {
            None => Ok(true),
            Some(rule) => prepared
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|event| Filter::parse(rule).and_then(|rule| rule.passes_prepared(event))),
        };
        match answer {
            Ok(true) => chosen.given.push((skill.clone(), how.is_some_and(SkillUse::is_always))),
            Ok(false) => chosen.left_out.push((skill.name.clone(), "its rule is false for this event")),
            Err(_) => chosen.left_out.push((skill.name.clone(), "its rule has no answer for this event")),
        }
    }
    chosen
}

fn lay_out(skill: &Skill, under: &Path, as_laid_out: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Result<(), Failure> {
    let refuse = |why: String| Failure::new(FailureCode::Setup, why);
    let name = plain_path(&skill.name).filter(|name| name.components().count() == 1);
    let name = name.ok_or_else(|| refuse(format!("skill `{}`: not a folder's name", skill.name)))?;
    for (path, content) in &skill.files {
        let fault = |why: &str| refuse(format!("skill `{}`, file `{path}`: {why}", skill.name));
        let relative = plain_path(path).ok_or_else(|| fault("not a path inside the skill's folder"))?;
        let bytes = BASE64.decode(content.as_bytes()).map_err(|_| fault("not base64"))?;
        let bytes = as_laid_out(path, bytes);
        let target = under.join(&name).join(relative);
        let parent = target.parent().unwrap_or(under);
        let script = bytes.starts_with(b"#!");
        fs::create_dir_all(parent)
            .and_then(|()| write_new(&target, &bytes, if script { 0o700 } else { 0o600 }))
            .map_err(|error| fault(&error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use data_encoding::BASE64;
    use serde_json::json;

    use super::choose;
    use crate::domain::{agent::Skill, skill::SkillUse};

    fn skill(name: &str, text: &str) -> Skill {
        let files = BTreeMap::from([("SKILL.md".to_owned(), BASE64.encode(text.as_bytes()))]);
        Skill { name: name.to_owned(), description: "A skill".to_owned(), files }
    }

    #[test]
    fn the_event_decides_and_the_record_says_it() {
        let skills = ["tone", "refunds", "german", "broken"].map(|name| skill(name, "---\nname: x\n---\nText of it."));
        let uses: Vec<SkillUse> = serde_json::from_value(json!([
            {"name": "tone", "always": true},
            {"name": "refunds", "when": "subject.contains('refund')"},
            {"name": "german", "always": true, "when": "subject.contains('Rechnung')"},
            {"name": "broken", "when": "body.nothing.there == 1"},
        ]))
        .unwrap();
        let chosen = choose(&skills, &uses, &json!({"subject": "a refund, please"}));
        let record = chosen.record();
        assert_eq!(
            record["text"],
            "skills: tone (always), refunds; without german: its rule is false for this event; without broken: its \
             rule has no answer for this event"
        );
        assert_eq!(record["skills"][1], json!({"name": "refunds", "how": "on_demand"}));
        let prompt = chosen.system_prompt("Be brief.", Path::new("/skills"));
        assert_eq!(prompt, "Be brief.\n\n<skill name=\"tone\">\nText of it.\n</skill>");
    }

    #[test]
    fn a_skill_of_several_files_says_where_they_are() {
        let mut tone = skill("tone", "Plain text.");
        tone.files.insert("words.md".to_owned(), BASE64.encode(b"x"));
        let uses = [serde_json::from_value(json!({"name": "tone", "always": true})).unwrap()];
        let prompt = choose(&[tone], &uses, &json!({})).system_prompt("", Path::new("/plugin/skills"));
        assert!(
            prompt.ends_with("Plain text.\n\nThe files of this skill are in /plugin/skills/tone\n</skill>"),
            "{prompt}"
        );
    }
}
