import { render } from "preact";
import { start } from "./store";
import { watchEdits } from "./undo";
import { App } from "./views/app";
import { loadAhead } from "./views/later";
import "./style.css";
import "./frame.css";

start();
watchEdits();
render(<App />, document.getElementById("page")!);
loadAhead();
