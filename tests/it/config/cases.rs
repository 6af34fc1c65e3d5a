//! Wrong agent files, and what must be said of them.

/// Frontmatter, and what must be said of it.
pub(super) const CASES: &[(&str, &str)] = &[
    ("executor: clude", "agents/a.md:2:1: `executor` cannot be `clude`; did you mean `claude`?"),
    ("description: x", "agents/a.md: `executor` is missing; add `executor`"),
    ("executor: claude\nskils: [tone]", "agents/a.md:3:1: unknown key `skils`; did you mean `skills`?"),
    (
        "executor: claude\ntriggers:\n  - source: hooks\n    form: a",
        "agents/a.md:5:5: unknown key `triggers[0].form`; did you mean `from`?",
    ),
    (
        "executor: claude\nlimits: { turns: many }",
        "agents/a.md:3:11: `limits.turns` must be a whole number from 0, not the text \"many\"",
    ),
    (
        "executor: claude\nlimits:\n  idle: 15",
        "agents/a.md:4:3: `limits.idle` must be text, not the number `15`; put it in quotes",
    ),
    ("executor: claude\nlimits: { idle: 15x }", "agents/a.md:3:11: `limits.idle`: `15x` is not a time span"),
    ("executor: claude\ntriggers: [{}]", "a trigger has a `source` or a `schedule`; add `source: name`"),
    (
        "executor: claude\ntriggers:\n- schedule: { cron: 0 0 30 2 * }",
        "`0 0 30 2 * UTC` never comes; write a time that comes",
    ),
    (
        "executor: claude\ntriggers:\n- schedule:\n    cron: '61 * * * *'",
        "agents/a.md:5:5: `61 * * * *` is no cron expression",
    ),
    (
        "executor: claude\ntriggers:\n- schedule: { cron: '@daily', timezone: Europe/Berlni }",
        "there is no time zone `Europe/Berlni`; write a name of the IANA database",
    ),
    ("executor: claude\ntriggers:\n- schedule: { every: 1h, at: x }", "a schedule has one of `cron`, `every` and `at`"),
    (
        "executor: claude\ntriggers:\n- schedule: { evry: 1h }",
        "unknown key `triggers[0].schedule.evry`; did you mean `every`?",
    ),
    ("executor: claude\ntriggers:\n- schedule: { every: 1h }\n  from: a@b", "`from` means nothing with a `schedule`"),
    ("executor: claude\ntriggers:\n- schedule: { every: 1h }\n  source: hooks", "either a `source` or a `schedule`"),
    ("executor: claude\ntriggers:\n- schedule: { every: 1h }\n  reply: same", "a webhook has no way back"),
    (
        "executor: claude\ntriggers:\n- schedule: { every: 1h }\n  reply: { sms: '+15550001111' }",
        "no number to text from",
    ),
    (
        "executor: claude\ntriggers:\n- schedule: { every: 1h, name: x }\n- schedule: { every: 2h, name: x }",
        "agents/a.md:5:3: another schedule of this agent is called `x`",
    ),
    ("executor: claude\nlimits: { turns: 0 }", "agents/a.md:3:11: `limits.turns` is 0; write 1 or more"),
    ("executor: claude\nattempts: 99", "agents/a.md:3:1: `attempts` is 99; write 1 to 20"),
    ("executor: claude\nprompt: hi", "agents/a.md:3:1: `prompt` does not stand in the frontmatter"),
    ("executor: claude\ncommand: [a]", "agents/a.md:3:1: `command` means nothing with executor claude"),
    ("executor: command", "agents/a.md: `command` is missing"),
    ("executor: command\ncommand: [a, '{{ text }}']", "agents/a.md:3:1: `command` has a template"),
    ("executor: http", "agents/a.md: `http` is missing"),
    ("executor: http\nhttp: { url: 'ftp://x' }", "agents/a.md:3:9: `http.url` is no URL; write https://HOST/PATH"),
    (
        "executor: http\nhttp: { url: 'https://x.example/', status_url: 'https://x.example/state' }",
        "`http.status_url` does not name the task; write {task}",
    ),
    (
        "executor: http\nhttp: { url: 'https://x.example/', mode: stream, status_url: 'https://x.example/{task}' }",
        "with `mode: stream` there is no task to ask for",
    ),
    ("executor: http\nhttp: { url: 'https://x.example/', poll: 5s }", "`http.poll` means nothing without `status_url`"),
    (
        "executor: http\nhttp: { url: 'https://x.example/', status_url: 'https://x.example/{task}', poll: 10ms }",
        "`http.poll` is out of range",
    ),
    ("executor: http\nhttp: { url: 'https://u:p@x.example/' }", "`http.url` has credentials in it"),
    (
        "executor: http\nhttp: { url: 'https://x.example/', headers: { host: a } }",
        "header `host` cannot be set; choose another name, of letters, digits and -",
    ),
    ("executor: http\nhttp: { url: 'https://x.example/', secret: nope }", "there is no secret `nope` in postern.toml"),
    ("executor: http\nhttp: { url: 'https://x.example/' }\nskills: [tone]", "`skills` does not reach the service"),
    ("executor: http\nhttp: { url: 'https://x.example/' }\nmodel: x", "`model` means nothing with executor http"),
    ("executor: claude\nresume: [a]", "agents/a.md:3:1: `resume` means nothing with executor claude"),
    ("executor: command\ncommand: [a, '{resume_id}']", "agents/a.md:3:1: `{resume_id}` means nothing in `command`"),
    (
        "executor: command\ncommand: [a]\nresult: codex\nresume: [a, '--resume={resume_id}']",
        "agents/a.md:5:1: `resume` has 0 arguments that are `{resume_id}`; write \"{resume_id}\" once, as an argument of its own",
    ),
    (
        "executor: command\ncommand: [a]\nresume: [a, '{resume_id}']",
        "agents/a.md:4:1: with `result: stdout` no conversation is known",
    ),
    (
        "executor: command\ncommand: [codex, exec, --json, '-']\nresult: codex\nstdin: text",
        "agents/a.md:5:1: `stdin` cannot be `text`",
    ),
    ("executor: command\ncommand: [a]\nmodel: x", "agents/a.md:4:1: `model` means nothing with executor command"),
    ("executor: claude\nskills: [tine]", "agents/a.md:3:10: there is no skill `tine`; did you mean `tone`?"),
    ("executor: claude\nskills: ['../x']", "there is no skill `../x`"),
    ("executor: claude\ntools: ['Bash(ls)']", "agents/a.md:3:9: `Bash(ls)` is no name of a tool"),
    (
        "executor: claude\npermissions:\n- alow: Read",
        "agents/a.md:4:3: unknown key `permissions[0].alow`; did you mean `allow`?",
    ),
    ("executor: claude\npermissions:\n- allow: Read(", "agents/a.md:4:1: `Read(` is no permission rule"),
    (
        "executor: claude\npermissions:\n- { allow: Read, deny: Bash }",
        "agents/a.md:4:1: a permission needs exactly one of `allow`, `ask` and `deny`",
    ),
    (
        "executor: claude\npermissions:\n- allow: Read\n- { allow: Bash, trust: sure }",
        "`permissions[1].trust`: write verified, allowed or unknown",
    ),
    ("executor: claude\npermissions: [{ allow: Raed }]", "warning: the CLI has no tool `Raed`; did you mean `Read`?"),
    (
        "executor: claude\ntools: [Bash]\npermissions:\n- allow: Bash\n- deny: Bash(rm *)",
        "agents/a.md:6:1: warning: `deny: Bash(rm *)` is never reached: `allow: Bash` stands before it",
    ),
    (
        "executor: claude\ntools: [Grep]\npermissions:\n- { allow: Read(*), trust: [verified, allowed, unknown] }\n- ask: Grep(/x/**)",
        "agents/a.md:6:1: warning: `ask: Grep(/x/**)` is never reached: `allow: Read(*)` stands before it",
    ),
    (
        "executor: claude\ntools: [Bash]\npermissions:\n- deny: Bash(rm *)\n- ask: Bash(rm *)",
        "warning: `ask: Bash(rm *)` is never reached",
    ),
    (
        "executor: claude\ntools: [Bash]\npermissions:\n- ask: Bash(git *)",
        "agents/a.md:5:1: warning: `ask: Bash(git *)` denies every call: the agent's file names nobody to ask; add `ask:",
    ),
    (
        "executor: claude\ntools: [Read]\npermissions:\n- allow: Read\n- deny: Bash",
        "agents/a.md:6:1: warning: `deny: Bash` does nothing: the agent has no such tool; add `Bash` to `tools`",
    ),
    ("executor: claude\ntools: [Read, AskUserQuestion]", "agents/a.md:3:15: `AskUserQuestion` waits for a person"),
    ("executor: claude\ntools: [mcp__postern__remeber]", "did you mean `mcp__postern__remember`?"),
    ("executor: claude\ntools: [mcp__postern]", "there is `mcp__postern__*`: reply, get_event"),
    ("executor: claude\ntools: [mcp__ordres__find]\nmcp: { orders: { command: x } }", "did you mean `orders`?"),
    ("executor: claude\ntools: ['Re*']", "agents/a.md:3:9: `Re*` stands for several tools"),
    ("executor: claude\neffort: most", "agents/a.md:3:1: `effort` cannot be `most`"),
    ("executor: claude\nthinking: 5", "agents/a.md:3:1: `thinking` is 5; write adaptive, off, or 1024 to 128000"),
    ("executor: claude\nthinking: maybe", "`thinking` has none of its forms; write adaptive, off, or a number"),
    ("executor: claude\nmodel: a\nfallback_model: a", "agents/a.md:4:1: `fallback_model` is `model` itself"),
    ("executor: claude\nmodel: '--x'", "agents/a.md:3:1: `--x` is no model"),
    ("executor: claude\npermission_mode: auto", "agents/a.md:3:1: `permission_mode` cannot be `auto`"),
    (
        "executor: anthropic\ntools: [mcp__postern__reply, Bash]",
        "agents/a.md:3:30: executor anthropic has no tool `Bash`; remove it, or write `executor: claude`",
    ),
    ("executor: anthropic\ntools: [Skill]", "agents/a.md:3:9: `Skill` is a tool of Claude Code; remove it"),
    ("executor: anthropic\nmodel: sonnet", "`sonnet` is no id of a model; write for example `claude-sonnet-5-5`"),
    (
        "executor: anthropic\nmodel: own-model\nlimits: { budget_usd: 1 }",
        "agents/a.md:4:11: what `own-model` costs is not known, so no budget can be kept; write its price into `prices`",
    ),
    (
        "executor: anthropic\npermissions: [{ allow: Read }]",
        "agents/a.md:3:1: `permissions` means nothing with executor anthropic; remove it, or write `executor: claude`",
    ),
    ("executor: anthropic\nmounts: ['./book:/context']", "`mounts` means nothing with executor anthropic"),
    ("executor: anthropic\nlimits: { messages: 5 }", "`limits.messages` means nothing with executor anthropic"),
    ("executor: claude\nmax_tokens: 5", "`max_tokens` means nothing with executor claude; remove it, or write `exec"),
    ("executor: anthropic\nmax_tokens: 0", "agents/a.md:3:1: `max_tokens` is 0; write 1 to 128000"),
    (
        "executor: anthropic\nthinking: 2048\nmax_tokens: 2000",
        "agents/a.md:4:1: `max_tokens` leaves no room for an answer beside 2048 tokens of `thinking`",
    ),
    ("executor: anthropic\noutput_schema: { type: array }", "`output_schema` is not of `type: object`"),
    ("executor: command\ncommand: [a]\neffort: low", "agents/a.md:4:1: `effort` means nothing with executor command"),
    (
        "executor: claude\noutput_schema: { type: object, properties: { n: { type: strnig } } }",
        "agents/a.md:3:1: `output_schema` has a type that is none at `/properties/n`",
    ),
    (
        "executor: claude\nagents:\n  rev: { description: d, prompt: p }",
        "agents/a.md:3:1: nothing can give work to `agents`; add `Agent` to `tools`",
    ),
    (
        "executor: claude\ntools: [Agent]\nagents:\n  rev: { description: d, prompt: p, tools: [Read] }",
        "the agent has no tool `Read` to give to `rev`",
    ),
    ("executor: claude\nplugins: [./book]", "agents/a.md:3:11: `./book` is no plugin"),
    (
        "executor: claude\nmounts: ['./book:/context/book']\ndirectories: [/context/other]",
        "agents/a.md:4:15: `/context/other` lies in none of the agent's `mounts`",
    ),
    (
        "executor: claude\nmounts: ['./book:/context/book']\nclaude_md: [/context/book]",
        "warning: there is no CLAUDE.md in `/context/book`",
    ),
    ("executor: claude\ntools: [Bash]\nsandbox: { deny_read: [../x] }", "`../x` is no place for `sandbox.deny_read`"),
    ("executor: claude\nmcp: { a: { command: x, url: 'http://x' } }", "`mcp.a` has `command` and `url`"),
    ("executor: claude\nmcp: { a: { type: ws, url: 'http://x' } }", "`mcp.a.type` cannot be `ws`"),
    ("executor: claude\nmcp: { a: { url: 'ftp://x' } }", "`ftp://x` is no URL to call"),
    ("executor: claude\nmcp: { postern: { command: x } }", "`postern` is no name for an MCP server"),
    (
        "executor: claude\nenv: { PLACE: x }\nmcp: { a: { url: 'http://x/${PLCE}' } }",
        "`${PLCE}` is nothing that the agent is given; did you mean `PLACE`?",
    ),
    (
        "executor: claude\nenv: { KEY: { secret: callback } }\nmcp: { a: { command: x, args: ['${KEY}'] } }",
        "`${KEY}` would put a secret into arguments",
    ),
    (
        "executor: claude\nmcp: { a: { url: 'http://x', headers: { k: { secret: calback } } } }",
        "there is no secret `calback` in postern.toml",
    ),
    (
        "executor: claude\nenv: { KEY: { secret: callback } }\ntriggers:\n- source: mail\n  from: '*'",
        "agents/a.md:5:1: everybody can start this agent, it holds secrets and may use the network",
    ),
    (
        "executor: claude\nmcp: { a: { command: x, env: { K: { secret: callback } } } }\ntriggers:\n- source: mail\n  \
         from: a@example.com\n  sender_auth: any",
        "or write `acknowledge: [untrusted-secrets-egress]`",
    ),
    (
        "executor: claude\ntriggers:\n- source: mail\n  from: a@example.com\n  reply: { attach: files }",
        "`triggers[0].reply` has none of its forms",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  reply: { attach: artifacts }",
        "agents/a.md:5:3: a webhook has no way back",
    ),
    (
        "executor: anthropic\ntriggers:\n- source: mail\n  from: a@example.com\n  reply: { attach: artifacts }",
        "an agent with executor anthropic leaves no files that could be attached",
    ),
    ("executor: claude\nacknowledge: [everything]", "cannot be `everything`"),
    ("executor: claude\nmounts: [./book]", "agents/a.md:3:10: `./book` is no mount"),
    ("executor: claude\nmounts: ['./bok:/b']", "agents/a.md:3:10: `./bok` is not there to be mounted; make DIR/bok"),
    ("executor: claude\nmounts: ['./book:b']", "`b` is not absolute in the container"),
    ("executor: claude\nmounts: ['./book:/b/../etc']", "`/b/../etc` has `.` or `..` in it"),
    ("executor: claude\nmounts: ['./book:/']", "`/` is the whole file system"),
    ("executor: claude\nmounts: ['./book:/proc/1']", "`/proc/1` belongs to the system"),
    ("executor: claude\nmounts: ['./book:/b', './book:/b/c']", "`/b/c` lies over `/b`, which is mounted too"),
    ("executor: claude\nenv: { LD_PRELOAD: x }", "agents/a.md:3:8: `LD_PRELOAD` cannot be set for an agent"),
    ("executor: claude\nenv: { HTTPS_PROXY: x }", "`HTTPS_PROXY` cannot be set"),
    ("executor: claude\nenv: { PATH: x }", "`PATH` cannot be set"),
    ("executor: claude\nenv: { lower: x }", "`lower` is no name of a variable"),
    (
        "executor: claude\nenv: { A: { secret: calback } }",
        "agents/a.md:3:8: there is no secret `calback` in postern.toml; did you mean `callback`?",
    ),
    ("executor: claude\nenv: { A: [1] }", "agents/a.md:3:8: `env.A` has none of its forms; write a text"),
    ("executor: claude\ntriggers:\n- source: mial", "agents/a.md:4:3: there is no source `mial`; did you mean `mail`?"),
    (
        "executor: claude\ntriggers:\n- source: mail\n  from: ''",
        "agents/a.md:5:3: `triggers[0].from` has an empty text",
    ),
    (
        "executor: claude\ntriggers:\n- source: mail\n  from: +15550001111",
        "agents/a.md:5:3: `triggers[0].from` has none of its forms; write a text or a list of texts, in quotes",
    ),
    ("executor: claude\ntriggers:\n- source: mail\n  from: *@example.com", "agents/a.md:5:10: is not valid YAML"),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  where: body.a ==",
        "agents/a.md:5:3: `where` is no CEL expression",
    ),
    ("executor: claude\ntriggers:\n- source: hooks\n  where: bdy.a == 1", "an event has no `bdy`"),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  prompt: '{{ body. }}'",
        "agents/a.md:5:3: `{{ body. }}` is not a path",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  prompt: '{{ subjct }}'",
        "agents/a.md:5:3: `{{ subjct }}` is nothing that an event has; did you mean `subject`?",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  session: thred",
        "agents/a.md:5:3: `session: thred` is no rule; did you mean `thread`?",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  while_running: sometimes",
        "agents/a.md:5:3: `triggers[0].while_running` cannot be `sometimes`",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  throttle: { limit: 0, per: 1m }",
        "agents/a.md:5:15: `triggers[0].throttle.limit` is 0; write 1 to 1000000",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  rate_limit: { limit: 5, per: 40d }",
        "`triggers[0].rate_limit.per` is 40d; write a span between 100ms and 30d",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  rate_limit: { limit: 5, per: 1h, key: sendr }",
        "is `sendr`, which is the same for every event; did you mean `sender`?",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  rate_limit: { limit: 5, per: 1h, notice: true }",
        "`triggers[0].rate_limit.notice` is for mail and text messages",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  debounce: { quiet: 30s, longest: 10s }",
        "`triggers[0].debounce.longest` is shorter than `quiet`",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  debounce: { quiet: 30s, key: '{{ bdy.a }}' }",
        "`{{ bdy }}` is nothing that an event has; did you mean `body`?",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  debounce: { quiet: 30s }\n  batch: { events: 2, within: 1m }",
        "`triggers[0].batch` and `debounce` both say when events become a run",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  batch: { events: 1, within: 1m }",
        "`triggers[0].batch.events` is 1; write 2 to 1000",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  session: source\n  while_running: drop\n  debounce: { quiet: 1s }",
        "agents/a.md:6:3: `triggers[0].while_running` speaks against `debounce`",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  while_running: collect",
        "agents/a.md:5:3: warning: each event is a session of its own here",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  priority: 101",
        "agents/a.md:5:3: `triggers[0].priority` is 101; write -100 to 100",
    ),
    ("executor: claude\ntriggers:\n- source: hooks\n  delay: 10", "`triggers[0].delay`"),
    ("executor: claude\ntriggers:\n- source: hooks\n  reply: same", "agents/a.md:5:3: a webhook has no way back"),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  reply: nobody",
        "agents/a.md:5:3: `triggers[0].reply` has none of its forms; write none, same,",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  reply: { webhook: 'ftp://x', secret: callback }",
        "`ftp://x` is no URL to call",
    ),
    (
        "executor: claude\ntriggers:\n- source: hooks\n  reply: { webhook: 'https://x.example', secret: other }",
        "there is no secret `other`",
    ),
    ("executor: claude\ntriggers:\n- source: hooks\n  reply: { sms: '5550001111' }", "`5550001111` is no number"),
    ("executor: claude\ntriggers:\n- source: hooks\n  reply: { email: nobody }", "`nobody` is no mail address"),
    (
        "executor: claude\nexecutor: command",
        "agents/a.md:3:1: is not valid YAML: the key `executor` stands there twice",
    ),
    (
        "executor: claude\ntriggers:\n- source: mail",
        "agents/a.md:4:1: warning: nobody can start this trigger; name senders in `from`",
    ),
    (
        "executor: claude\ntriggers:\n- source: mail\n  from: '*'",
        "agents/a.md:5:3: warning: everybody can start this trigger",
    ),
    ("executor: claude", "agents/a.md: warning: nothing starts this agent"),
    (
        "executor: claude\nask: sender\npermissions: [{ask: Bash}]\ntriggers:\n- source: hooks",
        "agents/a.md:3:1: no event of this agent has a sender who could be asked; name somebody",
    ),
    (
        "executor: claude\nask: { email: nobody }\npermissions: [{ask: Bash}]",
        "agents/a.md:3:8: `nobody` is no mail address",
    ),
    (
        "executor: claude\nask: { email: a@example.com, sms: '+15550001111' }\npermissions: [{ask: Bash}]",
        "`ask` names several ways; keep one of `email`, `sms` and `webhook`",
    ),
    (
        "executor: claude\nask: { email: a@example.com, wait: 2d }\npermissions: [{ask: Bash}]",
        "`ask.wait` is 2d; write a span between 1s and 1d",
    ),
    (
        "executor: claude\nask: { webhook: 'https://x.example' }\npermissions: [{ask: Bash}]",
        "nothing signs the callback; add `secret: name`",
    ),
    (
        "executor: claude\nask: { sms: '+15550001111' }\npermissions: [{ask: Bash}]\ntriggers:\n- source: hooks",
        "there is no number of ours to text from",
    ),
    ("executor: claude\nask: { email: a@example.com }", "agents/a.md:3:1: warning: nothing of this agent asks anybody"),
    ("executor: command\ncommand: ['true']\nask: sender", "agents/a.md:4:1: `ask` means nothing with executor command"),
    (
        "executor: claude\ntools: [mcp__postern__trigger_agent]\nmay_trigger: [b]",
        "agents/a.md:4:15: there is no agent `b`",
    ),
    ("executor: claude\ntools: [mcp__postern__trigger_agent]", "`trigger_agent` may start nobody; name agents"),
    ("executor: claude\nmay_trigger: [a]", "agents/a.md:3:1: nothing of this agent starts others"),
];
