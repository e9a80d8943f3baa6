// ESLint's own recommended rules, and what the bundle of the page's modules asks for (segdemo/ui/components/bundle.py).
import { builtinRules } from "eslint/use-at-your-own-risk";

const recommended = [...builtinRules].filter(([, rule]) => rule.meta.docs.recommended).map(([name]) => name);
const globalsOf = (text) => Object.fromEntries(text.split(/\s+/).map((name) => [name, "readonly"]));
const EVERYWHERE =
  "Blob CompressionStream DecompressionStream Response URL atob btoa clearTimeout performance setTimeout";
const BROWSER = `${EVERYWHERE} CustomEvent DataTransfer Event FileReader Image OffscreenCanvas ResizeObserver Worker addEventListener
  createImageBitmap crypto devicePixelRatio document fetch getComputedStyle MutationObserver indexedDB innerHeight innerWidth localStorage
  matchMedia requestAnimationFrame scrollY`;

const forbid = (selector, message) => ({ selector, message });
const bundle = [
  forbid("ExportDefaultDeclaration, ExportAllDeclaration", "Export by name: the bundle knows nothing else."),
  forbid(
    "ImportDefaultSpecifier, ImportNamespaceSpecifier",
    "Import by name: the bundle knows nothing else.",
  ),
  forbid(
    "ImportExpression, MetaProperty[meta.name='import']",
    "One script is sent: nothing is loaded later.",
  ),
  forbid("ExportNamedDeclaration[source]", "Import it first: the bundle knows no export from."),
  forbid(
    "Program > VariableDeclaration[kind!='const']",
    "Every component has a state of its own: keep it in mount.",
  ),
  forbid("Program > ExportNamedDeclaration > VariableDeclaration[kind!='const']", "Exports are constant."),
  forbid(
    "TemplateElement[value.raw=/\\n\\s*\\u002F\\u002F/]",
    "The bundle would take this line for a comment.",
  ),
];

export default [
  { ignores: [".venv/", "runs/"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    rules: {
      ...Object.fromEntries(recommended.map((name) => [name, "error"])),
      eqeqeq: "error",
      "consistent-this": "error",
      "max-lines": ["error", 350],
      "no-implicit-coercion": ["error", { boolean: false }],
      "no-loop-func": "error",
      "no-shadow": "error",
      "no-unused-expressions": ["error", { allowShortCircuit: true }],
      "no-unused-vars": ["error", { args: "all", argsIgnorePattern: "^_", caughtErrors: "all" }],
      "no-useless-return": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": ["error", { destructuring: "all" }],
    },
  },
  {
    files: ["segdemo/ui/**/*.js"],
    languageOptions: { globals: globalsOf(BROWSER) },
    rules: { "no-restricted-syntax": ["error", ...bundle] },
  },
  {
    files: ["tests/js/**/*.js", "benchmarks/*.js"],
    languageOptions: { globals: globalsOf(`${EVERYWHERE} Buffer console process`) },
  },
];
