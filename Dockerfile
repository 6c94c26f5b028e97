# LPM. torch's usual build carries CUDA; for a small image without it, name the index of torch's CPU builds:
#   docker build --build-arg TORCH_INDEX=ADDRESS -t lpm .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" lpm fit ct /data/ct.nii.gz --out /data/lungs
#
# Each RUN line was run by hand on 29 November 2026, in fresh Debian 13 systems (debootstrap, chroot) with CPython 3.12.1
# in place of python:3.12-slim, one for each stage: TORCH_INDEX was empty, and pip took torch 2.15.0 with CUDA (7.5 GB in all).
# As the user lpm, and as another user who owns /data, `lpm --help`, `lpm --version`, `lpm fit points` and `lpm generate`
# then ran, and pyvista drew lungs by EGL. What was not tried: the image itself, as no container engine was at hand; an
# index of CPU builds; a GPU.
FROM python:3.12-slim AS build
WORKDIR /source
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src ./src
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[pictures,view,dicom,cluster]" && rm -r /wheels
# without these three, VTK ends the process when it draws
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1 libxrender1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home lpm
USER lpm
WORKDIR /data
ENTRYPOINT ["lpm"]
CMD ["--help"]
