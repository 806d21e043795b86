// Hugging Face's tokenizers on one thread, for bench_tokenizer.py: node bench_tokenizer.js TOKENIZER_JSON
// TEXT REPEAT. The pieces are those of `aligndistil bench --text`; prints the same JSON object.
const {Tokenizer} = require('tokenizers');
const fs = require('fs');

const PIECE_BYTES = 4096, NEWLINE = 10;

function cut(bytes) {
    const pieces = [];
    for (let at = 0; at < bytes.length;) {
        const newline = bytes.indexOf(NEWLINE, at + PIECE_BYTES);
        const end = newline < 0 ? bytes.length : newline + 1;
        pieces.push(bytes.subarray(at, end).toString('utf8'));
        at = end;
    }
    return pieces;
}

async function pass(tokenizer, pieces) {
    const begun = process.hrtime.bigint();
    let tokens = 0;
    for (const piece of pieces)
        tokens += (await tokenizer.encode(piece, null, {addSpecialTokens: false})).getLength();
    return {tokens, seconds: Number(process.hrtime.bigint() - begun) * 1e-9};
}

async function main() {
    const [path, text, repeat] = process.argv.slice(2);
    const tokenizer = Tokenizer.fromFile(path);
    const bytes = fs.readFileSync(text), pieces = cut(bytes);
    const first = await pass(tokenizer, pieces), seconds = [];
    for (let i = 0; i < Number(repeat); ++i)
        seconds.push((await pass(tokenizer, pieces)).seconds);
    seconds.sort((a, b) => a - b);
    console.log(JSON.stringify({bytes: bytes.length, tokens: first.tokens, threads: 1,
        first_seconds: first.seconds, seconds: seconds[seconds.length >> 1]}));
}
main();
