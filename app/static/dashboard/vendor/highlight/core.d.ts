export interface Highlighter {
  registerLanguage(name: string, grammar: object): void;
  getLanguage(name: string): object | undefined;
  highlight(code: string, options: { language: string; ignoreIllegals?: boolean }): { value: string };
}
declare const highlighter: Highlighter;
export default highlighter;
