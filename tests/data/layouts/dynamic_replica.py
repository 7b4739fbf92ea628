import gzip
import json

import torch

from layouts import Layout
from retracker.data.datasets.dynamic_replica import DynamicReplica
from retracker.media.image import write_image


def write(root, truths, cameras=("left", "right")):
    entries = []
    for camera in cameras:
        for index, truth in enumerate(truths):
            name = f"00985{index}-3_obj_source"
            folder = f"{name}_{camera}"
            for t, frame in enumerate(truth.video):
                entry = write_frame(root / "train", folder, truth, t, frame, camera)
                entries.append({"sequence_name": name, "camera_name": camera, **entry})
    with gzip.open(root / "train" / "frame_annotations_train.jgz", "wt", encoding="utf-8") as file:
        json.dump(entries, file)


def write_frame(split, folder, truth, t, frame, camera):
    image, trajectory = f"{folder}/images/{folder}-{t:04d}.png", f"{folder}/trajectories/{t:06d}.pth"
    write_image(split / image, frame)
    if camera == "left":
        (split / folder / "trajectories").mkdir(exist_ok=True)
        torch.save(snapshot(truth, t, frame), split / trajectory)
    return {
        "frame_number": t,
        "frame_timestamp": t / 30,
        "image": {"path": image, "size": list(frame.shape[1:])},
        "depth": {"path": f"{folder}/depths/{t:04d}.geometric.png", "scale_adjustment": 1.0},
        "viewpoint": {"R": truth.poses[t, :3, :3].tolist(), "T": truth.poses[t, :3, 3].tolist()},
        "trajectories": {"path": trajectory} if camera == "left" else None,
    }


def snapshot(truth, t, frame):
    num_points = truth.tracks.shape[1]
    return {
        "img": frame.permute(1, 2, 0).contiguous(),
        "traj_2d": torch.cat([truth.tracks[t], torch.ones(num_points, 1)], -1),
        "traj_3d_world": torch.zeros(num_points, 3),
        "verts_inds_vis": truth.visible[t],
        "instances": torch.zeros(num_points),
    }


LAYOUT = Layout(
    config="dynamic_replica",
    write=write,
    open=lambda root: DynamicReplica(str(root), split="train", camera="left"),
    tolerance=0.0,
    a_file=lambda root: root / "train" / "009850-3_obj_source_left" / "trajectories" / "000000.pth",
)
