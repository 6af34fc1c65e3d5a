#!/bin/sh
# What the agent is asked comes in POSTERN_PROMPT; what is printed here is the answer.
words=$(printf '%s\n' "${POSTERN_PROMPT:-}" | wc -w | tr -d ' ')
printf 'Thank you, your message of %s words arrived. A person will look at it.\n' "$words"
