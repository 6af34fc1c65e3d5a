#!/bin/sh
# Summarises a mail and its attachments. Progress goes to standard error, the answer to standard output.
set -eu
LC_ALL=C
export LC_ALL
prompt=${POSTERN_PROMPT_FILE:?}
files=${POSTERN_ATTACHMENTS:?}

echo "reading the mail" >&2
awk '
    NR == 1 { sub(/^From: */, ""); from = $0; next }
    NR == 2 { sub(/^Subject: */, ""); subject = $0; next }
    NF { lines++; words += NF }
    END {
        printf "Hello %s,\n\n", from
        printf "your mail \"%s\" has %d words in %d lines.\n", subject, words, lines
    }' "$prompt"

count=0
for file in "$files"/*; do
    [ -f "$file" ] || continue
    count=$((count + 1))
    name=${file##*/}
    echo "looking at $name" >&2
    size=$(wc -c < "$file" | tr -d ' ')
    printf '\n%s (%s bytes)\n' "$name" "$size"
    case $name in
        *.csv | *.CSV)
            awk -F, '
                { sub(/\r$/, "") }
                NR == 1 { columns = NF; for (i = 1; i <= NF; i++) name[i] = $i; next }
                NF {
                    rows++
                    for (i = 1; i <= columns; i++) {
                        if ($i ~ /^-?[0-9]+(\.[0-9]+)?$/) { sum[i] += $i; numbers[i]++ }
                    }
                }
                END {
                    printf "  %d rows, %d columns\n", rows, columns
                    for (i = 1; i <= columns; i++)
                        if (rows && numbers[i] == rows)
                            printf "  %s: sum %.10g, average %.2f\n", name[i], sum[i], sum[i] / rows
                }' "$file"
            ;;
        *.txt | *.md | *.log | *.json)
            awk '{ words += NF } END { printf "  %d lines, %d words\n", NR, words }' "$file"
            ;;
        *) printf '  kept as it is\n' ;;
    esac
done
[ "$count" -gt 0 ] || printf '\nNothing was attached.\n'
printf '\nYour inbox agent\n'
echo "done, files read: $count" >&2
