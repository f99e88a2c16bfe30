"""The stages of a recipe by name, a file each."""

from lauragpt.train.stages.codec import CodecTraining
from lauragpt.train.stages.encoder import EncoderStage
from lauragpt.train.stages.gpt import GPTStage
from lauragpt.train.stages.joint import JointStage
from lauragpt.train.stages.speaker import SpeakerStage
from lauragpt.train.stages.vocoder import VocoderStage

STAGE_CLASSES = {"codec": CodecTraining, "encoder": EncoderStage, "gpt": GPTStage, "vocoder": VocoderStage, "joint": JointStage, "speaker": SpeakerStage}
