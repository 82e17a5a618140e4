// What a task's metric is called, and how it is written: `accuracy` of reports, whatever it is.

import { number, percent } from "./format.js";

const SHARES = { classification: "Accuracy", multilabel: "F1", segmentation: "Mean IoU" };
const ERRORS = { regression: "RMSE", autoencoder: "MSE", "next-token": "Perplexity" };

/** Its name, how a value is written, and whether it is a share from 0 to 1. */
export function metricOf(task) {
  const kind = task?.kind ?? "classification";
  const isShare = kind in SHARES;
  return {
    name: SHARES[kind] ?? ERRORS[kind] ?? kind,
    write: isShare ? percent : (value) => number(value, 4),
    isShare,
  };
}
