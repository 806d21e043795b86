// Expectations of tokenizer_test.py by Hugging Face's tokenizers (npm install tokenizers):
// cd tests/data; python3 tokenizer_cases.py | node tokenizer_reference.js >tokenizer_expected.json
const {Tokenizer} = require('tokenizers');
const {texts, tokenizers} = JSON.parse(require('fs').readFileSync(0, 'utf8'));

async function main() {
    const out = [];
    for (const [name, json] of Object.entries(tokenizers)) {
        const tokenizer = Tokenizer.fromString(JSON.stringify(json));
        const rows = [];
        for (const text of texts) {
            const ids = (await tokenizer.encode(text, null, {addSpecialTokens: false})).getIds();
            rows.push(JSON.stringify([ids, await tokenizer.decode(ids, false)]));
        }
        out.push(JSON.stringify(name) + ': [\n' + rows.join(',\n') + ']');
    }
    console.log('{' + out.join(',\n') + '}');
}
main();
