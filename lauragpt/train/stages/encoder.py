"""The encoder's stage: CTC pre-training. In: recordings and their texts. Out: an encoder that spells what it hears."""

from lauragpt.model.lauragpt import LauraModel
from lauragpt.train.model_stage import ModelStage, Update, pad


class EncoderStage(ModelStage):
    """CTC pre-training of the encoder (the paper starts from a trained recogniser)."""

    name, trained = "encoder", ("encoder",)

    def __init__(self, model: LauraModel, *rest, **more):
        super().__init__(model, *rest, **more)
        if model.encoder.intermediate is not None:
            model.encoder.intermediate.deviation.zero_()  # the layer changes: joint training measures it when it begins

    def batch(self, step: int) -> dict:
        rng = self.rng(step)
        examples = [self.corpus.train[i] for i in self.plan[step]]
        return {"waves": pad([self.corpus.heard(e, rng, self.config.noise) for e in examples]), "texts": [e.targets[0] for e in examples]}

    def step(self, batch: dict, update: Update) -> dict[str, float]:
        loss = self.ctc(self.hear(*batch["waves"]), batch["texts"], range(len(batch["texts"])))
        update("model", loss)
        return {"ctc": loss.item()}
