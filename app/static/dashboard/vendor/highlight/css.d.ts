declare const grammar: object;
export default grammar;
