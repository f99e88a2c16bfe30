"""The stages of a recipe by name, in the order in which they run, a file each."""

from lauragpt.train.stages.codec import CodecStage
from lauragpt.train.stages.encoder import EncoderStage
from lauragpt.train.stages.gpt import GPTStage
from lauragpt.train.stages.joint import JointStage
from lauragpt.train.stages.listener import ListenerStage
from lauragpt.train.stages.speaker import SpeakerStage
from lauragpt.train.stages.speller import SpellerStage
from lauragpt.train.stages.vocoder import VocoderStage

STAGES = {
    stage.name: stage
    for stage in (EncoderStage, ListenerStage, CodecStage, SpellerStage, GPTStage, VocoderStage, JointStage, SpeakerStage)
}
