"""The sentences of the page that do not depend on results: what the board means, and what it does not."""

from __future__ import annotations

from membench.report.tables import BEATS
from membench.report.tables import CHOSEN
from membench.report.tables import S_MIX

HEAD = """\
<!-- Written by `membench report` from the records; edits are lost. `membench report --check` compares. -->
# Leaderboard

Which regularizers stop a network from learning noise by heart, without costing it accuracy on real data? Every entry \
trains the same networks on real labels, on partly random labels (`mixed@p`: a share p of them) and on random labels \
only (`randY`), with the same weights, batches, splits and noise as the plain network, `none`. An entry is good if one \
setting of it serves clean and noisy labels alike. After Arpit et al. 2017, \
[A Closer Look at Memorization in Deep Networks](https://arxiv.org/abs/1706.05394).
"""
COLUMNS = f"""\
- **rank**: an interval. `1\N{EN DASH}3` means that the entry may stand anywhere from 1 to 3: the seeds do not \
tell it apart from its neighbours. The entries that may be first are in bold.
- **recovery *R***: the score. 0 = as without a regularizer; 1 = all the test accuracy that noisy labels cost is \
won back, with no net loss on clean labels. ± is the 95% interval over training randomness; **± images** is the \
further half-width that comes from having these test images and no others.
- **excess *X***: *R* minus the *R* of the control, the plain network stopped early or trained at a lower rate. \
{BEATS} = above 0, one-sided test, corrected for the number of entries (Holm): it does more than training less \
would.
- ***S***: suppression. The share of the fitting of random labels that is gone: 0 = as without, 1 = none of it \
is left.
- ***ΔA***: change of test accuracy after training on real labels, in percentage points.
- **{S_MIX}**: the share of the wrong labels among real ones that is no longer memorized.
- **cost**: arithmetic of one training step, in units of the plain network's.
- **strength**: chosen by validation accuracy on the *other* seeds, one for clean and noisy labels; `(4/5)`: so \
many of the folds agree. All columns of a row are read at it. A suite of many tasks shows the **stability** of the \
choice instead, the mean share of folds that agree.
- **notes**: `two-network only` = *S* is far above {S_MIX}: noise is held back only where there is nothing else \
to learn; `still fitting` = the noise fit still rises at the end of the budget; `3/75 failed` = so many runs \
crashed, hung or diverged. They count as the worst result, never as missing.
"""
EXTRA = """\
Of signals that neither *R* nor the choice of strength reads: ***R* name@p**, the share that is won back of the test \
accuracy which that noise costs the plain network (`pair-flip@p`: a share p of the labels names the next class); \
***S* name**, the share of its fit that is gone (`randX`: Gaussian inputs, real labels).
"""
READING = f"""\
- Start with *R* and its interval; then ask whether *X* has a {BEATS}. A high *S* alone is no merit: a network \
that learns nothing has *S* = 1.
- *S* and *ΔA* are the two axes of the paper's Figure 10: noise held back, and what that costs on real data. \
{S_MIX} tells whether the noise is also held back where real examples stand beside it.
- Two entries whose rank intervals overlap may still differ: compare their *R*. Entries with the same interval \
are a group.
- `none` is measured like everybody else; a task counts only if `none` does fit its noise (see "Validity").
- *S*@0.5, *S*@1, *S*@2 and the frontier area (largest *S* at a loss of at most so many points; the mean of that \
over 0 to 2 points) and the per-strength tables are read on the very data that they are chosen on. They \
describe; they do not rank.
- Noise fit is always training accuracy in evaluation mode, on unperturbed training images, at the last epoch of \
a fixed number of steps.
"""
LIMITS = f"""\
- Intervals and tests are about **training randomness given these images**: other weights, orders and draws of \
training images from one pool. "± images" is what the choice of test images adds. Neither speaks of other data \
sets.
- The networks are small, and so are the training sets. What holds for a large network on a large set may \
differ.
- *S* saturates: it cannot tell apart two entries that both leave the noise alone, and a high value can mislead \
({S_MIX} and the flags are there for that). It does not rank.
- Ranks depend on who takes part; *R* and *X* do not. Compare *R* across versions of the board, not ranks, and \
only within one version of a suite.
- The strengths are five a regularizer, set by its author. A better grid might do better.
- Label noise here is uniform. Real annotators err on hard examples, and toward similar classes.
- Cost counts arithmetic, not seconds; for wall-clock see [timing.md](timing.md), which differs from machine to \
machine.
- Not a statement about privacy or security: a low noise fit does not mean that training data cannot be \
extracted.
"""
CONTROLS = """\
`control` is what every entry has to beat: the plain network read at an earlier epoch, or trained at a lower rate, \
whichever validation chooses. The other rows have a known answer: they are measured like every entry, but no choice, \
rank or test of another row depends on them.
"""
FULL_GRIDS = """\
Every strength of each part with every one of the others (`--grid full`), the setting chosen as for every entry. They \
choose among more settings than the five of a ranked row, so they are neither ranked, nor tested against the control, \
nor drawn. Ties go to the setting whose strengths stand earlier in their parts' grids, their places added up.
"""
VALIDITY = """\
A task counts if `none` shows that there is something to measure: it fits random labels (*F*0 ≥ 99% at the end, ≥ 95% \
at half the budget), memorizes wrong labels (*M*0 ≥ 95%), learns the real ones (*A*0 at least half-way from a constant \
answer to 100%), and loses at least 10 points of test accuracy to label noise (*D*). All in %.
"""
MORE = "More of each row: the interval of <i>X</i>, equal compute, suppression at a bounded loss"
STRENGTHS = f"Every strength, in means over seeds ({CHOSEN} = chosen by most folds)"
TRAINING_LESS = "The control: the plain network, read early or trained slower"
