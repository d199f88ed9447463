"""Labels a video with a file of `kinetoscope export --format onnx`: numpy, onnxruntime and PyAV.

usage: python onnx_labels.py NETWORK.onnx VIDEO    (networks of frames alone; rotation is not read)
"""

import json
import sys

import av
import numpy as np
import onnxruntime


def choose_frames(rule, clips, n):  # (clips, frames): indices into a video of n frames
    parts, run, stride = rule["num_segments"], rule["frames_per_segment"], rule["frame_stride"]
    if stride is not None:  # a window; several reach from the first frame to the last
        t = rule["num_frames"]
        room = max(0, n - 1 - (t - 1) * stride)
        first = [room // 2] if clips == 1 else np.arange(clips) * room // (clips - 1)
        return (np.array(first)[:, None] + np.arange(t) * stride) % n
    parts = parts or rule["num_frames"]
    points = ((clips + 2 * np.arange(clips)) % (2 * clips))[:, None]  # of 2 * clips, in each part
    if run == 1:
        return n * (np.arange(parts) * 2 * clips + points) // (2 * clips * parts)
    length = n // parts
    first = np.arange(parts) * max(length, 1) + points * max(0, length - run) // (2 * clips)
    return (first[..., None] + np.arange(run)).reshape(clips, -1) % n


def resize(x, axis, size):  # bilinear, antialiased: a triangle as wide as a pixel of the result
    scale = x.shape[axis] / size
    distance = np.arange(x.shape[axis]) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale
    weights = np.clip(1 - np.abs(distance) / max(scale, 1), 0, None)
    return np.moveaxis(np.tensordot(weights / weights.sum(1)[:, None], x, (1, axis)), 0, axis)


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["kinetoscope"])
with av.open(sys.argv[2]) as file:
    video = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
side, size = about["crops"]["short_side"], about["inputs"]["clip"]["height"]
ratio = about["crops"]["aspect"] or video.shape[2] / video.shape[1]
height, width = round(side / min(ratio, 1)), round(side * max(ratio, 1))
views = []
for indices in choose_frames(about["sampling"]["init_args"], about["num_clips"], len(video)):
    frames = np.rint(resize(resize(video[indices], 1, height), 2, width)).astype(np.uint8)
    for share in (0, 0.5, 1) if about["num_crops"] == 3 else (0.5,):  # along the longer side
        top = int((height - size) * (share if height > width else 0.5))
        left = int((width - size) * (share if width >= height else 0.5))
        views.append(frames[:, top : top + size, left : left + size].transpose(3, 0, 1, 2))
logits = session.run(["logits"], {"clip": np.stack(views)})[0]
logits = logits.mean(0, keepdims=True) if about["average"] == "logits" else logits
form, names = about["label_form"], np.array(about["class_names"])
for own in [[c in ("", n.split(":")[0]) for n in names] for c in form["columns"] or [""]]:
    x, several = logits[:, own], form["kind"] == "multi"  # all classes, or those of a column
    total = np.logaddexp(0, x) if several else np.logaddexp.reduce(x, 1, keepdims=True)
    shares = (np.max if about["average"] == "maximum" else np.mean)(np.exp(x - total), 0)
    for index in np.argsort(-shares)[:5]:
        print(f"{100 * shares[index]:5.1f} %  {names[own][index]}")
