#!/bin/sh
# Answers a text message. The last line is the answer.
set -eu
text=$(tr '[:upper:]' '[:lower:]' < "${POSTERN_PROMPT_FILE:?}" | tr '\n' ' ')
echo "reading the message"
case $text in
    *open* | *hour* | *when*) topic=hours answer="We are open Monday to Friday, 9 to 18, and Saturday until 13." ;;
    *where* | *address* | *find*) topic=place answer="You find us at 12 Harbour Street, beside the post office." ;;
    *order* | *parcel*) topic=orders answer="Please send your order number and we look it up." ;;
    *hello* | *"hi "*) topic=greeting answer="Hello! Ask me about opening hours, our address or your order." ;;
    *) topic=other answer="Thank you. A person will answer you; ask me about hours, address or orders meanwhile." ;;
esac
echo "this is about: $topic"
echo "$answer"
